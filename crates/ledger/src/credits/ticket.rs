//! Define what the home of a session signs, so that validators can check two of its signatures against each other.
//!
//! These messages travel between hosts (`tessera-wire` carries them); the ledger sees them only as evidence.

use crate::action::MAX_STAGES;
use tessera_canon::{Domain, Hash, List, PublicKey, Signature, digest, record, tags};

/// Signed by the home: [`Route`].
pub const ROUTE: Domain = Domain::new("tessera/session-route/v1");

/// Signed by the home: [`Ticket`]; also the domain of its hash.
pub const TICKET: Domain = Domain::new("tessera/chunk-ticket/v1");

tags! {
    /// What a ticket pays for.
    pub enum TicketKind {
        /// Reading tokens that the client supplied.
        0 => Prefill,
        /// Tokens that the model generates.
        1 => Decode,
    }
}

record! {
    /// Who serves a session during one attempt, one host per stage; under [`ROUTE`]. A home signs one route for
    /// each attempt: another one is a proof against it.
    pub struct Route {
        pub order: Hash,
        pub attempt: u16,
        pub home: PublicKey,
        /// The first is the home.
        pub hosts: List<PublicKey, MAX_STAGES>,
    }
}

record! {
    /// A route with the home's signature.
    pub struct SignedRoute { pub route: Route, pub signature: Signature }
}

record! {
    /// The home's word that chunk `j` is paid and covers positions `pos_from..pos_to`; under [`TICKET`].
    pub struct Ticket {
        pub order: Hash,
        pub attempt: u16,
        pub j: u32,
        pub payword: Hash,
        pub kind: TicketKind,
        pub pos_from: u32,
        pub pos_to: u32,
        /// Hash of the ticket before it; zero for the first.
        pub previous: Hash,
    }
}

impl Ticket {
    /// What the next ticket names as `previous`.
    pub fn id(&self) -> Hash {
        digest(TICKET, self)
    }
}

record! {
    /// A ticket with the home's signature. Home to last stage; to the others it travels with the rows.
    pub struct SignedTicket { pub ticket: Ticket, pub signature: Signature }
}
