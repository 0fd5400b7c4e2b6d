//! Play disputes against somebody who does whatever the ledger takes: the honest side never loses.
