//! Judge what a ledger cannot judge by hashes alone: games about arithmetic, and trainers that contradict themselves.
//!
//! A game judges what comes out of a unit and takes the claim's word for what went in. A trainer that claims an input
//! it was not sent, or claims the true output and sends another, is caught by what it signed on its edges. No step is
//! computed for that, so it is decided at once:
//!
//! ```text
//! statement   signed by the accused   -> header -> labels and neighbours of a unit, and its claim
//! receipt     signed by the accused   the same run, generation, step, label and direction, another digest
//!
//! tensor   label    the accused is   the other side is
//! x        in       receiver         the header's `up`
//! dy       out      receiver         the header's `down`
//! dx       in       sender           the header's `up`
//! y        out      sender           anybody
//! ```
//! Why an honest seat is safe: it signs one digest for each tensor of a unit and generation, which is the one that it
//! claims. Labels that others chose name a tensor only together with the neighbour, for two neighbours may choose the
//! same; `out` is the seat's own, so whoever was sent something else under it may complain. A seat therefore has
//! to refuse a second, different tensor for a unit that it has countersigned, from whomever it comes.
//!
//! A seat that names an accomplice as the neighbour moves the blame only: the accomplice has then signed two things.

use crate::unit::{Direction, EdgeReceipt, RECEIPT, StepHeader, UnitEdges};
use tessera_canon::{Hash, MerklePath, Signature, decode, digest, record};
use tessera_dispute::{claim::UnitClaim, judge::UnitReferee};
use tessera_ledger::{
    action::Statement,
    referee::{FinalStep, Judgement, Referee, RefereeError, Signed},
    trust::kind::Kind,
};

record! {
    /// What shows that a trainer claims one tensor and signed another.
    pub struct Contradiction {
        /// The header whose statement the accused signed.
        pub header: StepHeader,
        /// The unit's labels and neighbours, and where they stand in the header's list.
        pub edges: UnitEdges,
        pub path: MerklePath,
        /// The unit's claim; its digest is the evidence.
        pub claim: UnitClaim,
        /// What the accused signed of the tensor besides, and its signature.
        pub receipt: EdgeReceipt,
        pub signature: Signature,
    }
}

fn input(what: &str) -> RefereeError {
    RefereeError::Input(what.into())
}

impl Contradiction {
    /// What the claim says of the tensor that the receipt is about.
    fn claimed(&self) -> Result<Hash, RefereeError> {
        let Self { header, edges, claim, receipt, .. } = self;
        let (worker, forward) = (header.worker, receipt.direction == Direction::Forward);
        let (sends, receives) = (receipt.from == worker, receipt.to == worker);
        if (receipt.run, receipt.generation, receipt.step) != (header.run, header.generation, header.step) {
            return Err(input("the receipt is of another run, generation or step"));
        }
        if !sends && !receives {
            return Err(input("the accused is on neither side of the receipt"));
        }
        let (below, above) = (receipt.label == edges.label, receipt.label == edges.out);
        match (forward, below, above) {
            (true, _, true) if sends => Ok(claim.y),
            (true, true, _) if receives && receipt.from == edges.up => Ok(claim.x),
            (false, _, true) if receives && receipt.from == edges.down => Ok(claim.dy),
            (false, true, _) if sends && receipt.to == edges.up => Ok(claim.dx),
            (_, false, false) => Err(input("the receipt has the label of another unit")),
            _ => Err(input("the receipt is of another side or direction of the unit's edges")),
        }
    }

    /// What the accused must have signed for this to convict it, if it fits its `statement` of the claim `evidence`.
    pub fn check(&self, statement: &Statement, evidence: &Hash) -> Result<Signed, RefereeError> {
        if self.header.statement() != *statement {
            return Err(input("the header is not the one that was signed"));
        }
        if self.claim.digest() != *evidence {
            return Err(input("the claim is not the evidence"));
        }
        let unit = self.header.unit_id(&self.edges, &self.path);
        let unit = unit.ok_or_else(|| input("the labels are not in the header's list"))?;
        if self.claim.unit != unit.id() {
            return Err(input("the labels are those of another unit"));
        }
        let claimed = self.claimed()?;
        if claimed == Hash::ZERO {
            return Err(input("the unit has no such tensor"));
        }
        if claimed == self.receipt.digest {
            return Err(input("the receipt is of the tensor that is claimed"));
        }
        Ok(Signed { digest: digest(RECEIPT, &self.receipt), signature: self.signature })
    }
}

/// The referee of a network that trains: games by [`UnitReferee`], contradictions by [`Contradiction`].
#[derive(Clone, Copy, Debug, Default)]
pub struct TrustReferee;

impl Referee for TrustReferee {
    fn supports(&self, kind: Kind) -> bool {
        UnitReferee.supports(kind)
    }
    fn judge(&self, step: &FinalStep) -> Result<Judgement, RefereeError> {
        UnitReferee.judge(step)
    }
    fn claim_digest(&self, kind: Kind, claim: &[u8]) -> Result<Hash, RefereeError> {
        UnitReferee.claim_digest(kind, claim)
    }
    fn contradicts(
        &self,
        statement: &Statement,
        evidence: &Hash,
        proof: &[u8],
    ) -> Result<Signed, RefereeError> {
        let proof: Contradiction =
            decode(proof).map_err(|error| RefereeError::Malformed(format!("contradiction: {error}")))?;
        proof.check(statement, evidence)
    }
}
