//! Say what a cell can hold. Every record names the ids it belongs to, so that a scan can check the whole state.
//!
//! Numbers are ranges by room, as those of [`crate::keys`].

use ruint::aliases::U256;
use tessera_canon::{
    Describe, Described, Text,
    bytes::BufMut,
    choice,
    codec::{Buf, Error, FixedSize, Read, Write},
};

pub use crate::{
    accounts::record::*,
    action::{ChunkPrice, LossSource, RiskRule},
    credits::{params::CreditRules, record::*},
    extraction::record::*,
    genesis::{NetworkPolicy, Params, SecurityTerms},
    governance::{record::*, terms::GovernanceTerms},
    machine::record::*,
    market::record::*,
    ownership::record::*,
    runs::{policy::RunPolicy, record::*},
    trust::{params::TrustParams, record::*},
};

/// A network address as text, `ip:port`.
pub type Endpoint = Text<64>;

/// A 256-bit unsigned integer, big-endian in the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Wide(pub U256);
impl Write for Wide {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.to_be_bytes::<32>().write(buf);
    }
}
impl FixedSize for Wide {
    const SIZE: usize = 32;
}
impl Read for Wide {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(U256::from_be_bytes(<[u8; 32]>::read_cfg(buf, &())?)))
    }
}
impl Describe for Wide {
    fn describe(&self) -> Described {
        Described::Text(self.0.to_string())
    }
}

/// A type that has a cell of its own.
pub trait Stored: Sized + Into<Record> {
    /// The value, if `record` is of this type.
    fn from_record(record: Record) -> Option<Self>;
}

macro_rules! records {
    ($($tag:literal => $name:ident),* $(,)?) => {
        choice! {
            /// Everything a cell can hold.
            pub enum Record { $($tag => $name($name)),* }
        }
        $(impl Stored for $name {
            fn from_record(record: Record) -> Option<Self> {
                match record { Record::$name(inner) => Some(inner), _ => None }
            }
        })*
    };
}
records! {
    // Accounts and validators.
    1 => Globals, 2 => Params, 3 => Account, 4 => Validator, 5 => NetworkPolicy,
    6 => SecurityTerms, 7 => Bond, 8 => ValidatorKey, 9 => ValidatorSet, 200 => ValidatorTotals, 201 => Issuance,
    202 => AuditBudget, 203 => AuditCount, 204 => SignerTerms, 205 => SignerTerm,
    // Runs.
    10 => RunTerms, 11 => Run, 12 => Designer, 13 => Stage, 14 => Seat, 15 => Member, 16 => Window,
    17 => StageReport, 18 => RunPolicy, 19 => Evaluation, 20 => EvalMember, 21 => CommitteeParams, 22 => Lineage,
    // Shares.
    30 => Credits, 31 => Claim, 32 => Owner, 33 => Vesting, 34 => Unlocking,
    // Credits.
    40 => Note, 41 => Lock, 42 => Escrow, 43 => LockedNotes, 44 => Settlement, 45 => LegHosts,
    46 => CreditRules, 47 => Series, 48 => Lane, 49 => Attempts, 50 => Host, 51 => Capacity, 52 => StagePrice,
    53 => Application, 54 => SessionDispute,
    // Market.
    60 => MarketOrder, 61 => OrderNotes, 62 => Batch, 63 => PriceHead, 64 => PricePart, 65 => AutoSell, 66 => Lot,
    67 => Wrap, 68 => Proceeds, 69 => OwnerProceeds, 70 => HostOffer,
    73 => MarketParams,
    // Trust.
    80 => TrustParams, 81 => Conduct, 83 => Dispute, 84 => DisputeLevel, 85 => DisputeProof,
    86 => Panel, 87 => AuditVote, 88 => AuditStats, 89 => Canary, 90 => Rollback,
    // Governance.
    100 => GovernanceTerms, 101 => Proposal, 102 => ProposalMotion, 103 => Tally, 104 => Ballot, 105 => VoteLock,
    106 => Delegation, 107 => Proposer, 108 => Assembly, 109 => ChamberWork, 110 => History,
    // Extraction.
    120 => VerifiedWork, 121 => Affiliation, 122 => Coverage, 123 => Concentration, 124 => ExtractionReport,
    125 => Measurement, 126 => ExtractionParams,
    240 => ListLength, 241 => ListSlot, 242 => ListPosition,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        action::{Asset, Blend, Change, Changes, Choice, MarketId, OrderTerms, Side},
        cell::Cell,
        governance::parameter::Parameter,
    };
    use tessera_canon::{Blob, Hash, List, PublicKey};

    /// Records whose size varies, at their largest; the others have one size each and are packed in every test.
    #[test]
    fn the_largest_records_fit_their_cells() {
        let (hash, key) = (Hash([255; 32]), PublicKey([255; 32]));
        let endpoint = Endpoint::new("9".repeat(64)).expect("64 bytes are allowed");
        let point = PricePoint { epoch: 1, price: 1, volume: 1 };
        let attempt = Attempt { home: key, start: 1, at: 1, reported: true, slashed: true };
        let largest: Vec<Record> = vec![
            Validator { index: u32::MAX, key, endpoint: endpoint.clone() }.into(),
            RunTerms {
                run: hash,
                creator: key,
                stages: 1,
                seats: 1,
                microbatches: 1,
                steps: 1,
                window_steps: 1,
                f_star: 1,
                f_min: 1,
                f_exclusive: 1,
                exclusive_windows: 1,
                exclusive_until: 1,
                rule: RiskRule::Blend(Blend { percent: 1, half_life_percent: 1 }),
                loss_0: 1,
                bond: 1,
                price: ChunkPrice { prompt_tokens: 1, generated_tokens: 1 },
                supply: 1,
                supply_epochs: 1,
                designers: 1,
                created: 1,
                wu_flops: 1,
                loss_source: LossSource::Committee,
                open_stages: 1,
                bootstrap_windows: 1,
                fork_part: 1,
            }
            .into(),
            Seat {
                run: hash,
                stage: 1,
                seat: 1,
                account: key,
                endpoint: endpoint.clone(),
                state: SeatState::Active,
                since: 1,
                heard: 1,
            }
            .into(),
            Member {
                run: hash,
                account: key,
                state: MemberState::Seated,
                stage: Some(1),
                seat: Some(1),
                endpoint,
                asked: 1,
                bond: 1,
                wu: 1,
                away: Some(1),
                left: 1,
                admitted: true,
                seated: true,
            }
            .into(),
            EvalMember {
                run: hash,
                window: 1,
                index: 1,
                account: key,
                commitment: Some(hash),
                loss: Some(1),
            }
            .into(),
            ExtractionReport {
                run: hash,
                epoch: 1,
                stages: 1,
                open: 1,
                seats: 1,
                held: 1,
                identities: 1,
                f_done: 1,
                theta: 1,
                foreign_work: 1,
                mu: 1,
                kappa: 1,
                largest: Some(key),
                coverage: 1,
                measured_mu: Some(1),
                repair: Some(1),
                warn: true,
            }
            .into(),
            LockedNotes { order: hash, part: 1, notes: List::new(vec![hash; 6]).expect("six fit") }.into(),
            Account {
                key,
                balance: 1,
                nonce: 1,
                signer: key,
                next: Some(NextSigner { key, from: u64::MAX }),
            }
            .into(),
            ProposalMotion {
                proposal: hash,
                motion: Changes {
                    changes: List::new(vec![Change { parameter: Parameter::Theta, old: 1, new: 2 }; 5])
                        .expect("five fit"),
                }
                .into(),
            }
            .into(),
            Tally {
                proposal: hash,
                yes: 1,
                no: 1,
                abstain: 1,
                work_yes: Wide::default(),
                work_no: Wide::default(),
                quorum_at: Some(u64::MAX),
            }
            .into(),
            Ballot {
                proposal: hash,
                account: key,
                by: key,
                choice: Choice::Yes,
                votes: 1,
                work: Wide::default(),
                locked: 1,
                older: hash,
            }
            .into(),
            // Trust.
            DisputeProof { dispute: hash, at: 1, bytes: Blob::new(vec![1; PROOF_CELL]).expect("it fits") }
                .into(),
            Panel {
                id: hash,
                run: hash,
                window: 1,
                stage: 1,
                index: 1,
                parties: List::new(vec![key; 2]).expect("two fit"),
                drawn: Some(1),
                auditors: List::new(vec![key; MAX_AUDITORS]).expect("they fit"),
            }
            .into(),
            Dispute {
                id: hash,
                run: hash,
                window: 1,
                stage: 1,
                index: 1,
                challenger: key,
                accused: key,
                bond: 1,
                counter: 1,
                audit: true,
                paneled: true,
                late: true,
                phase: DisputePhase::Prove,
                kind: Some(crate::trust::kind::Kind::Dot),
                evidence: hash,
                unit: Some(1),
                work: Some(crate::trust::record::Work { generation: 1, step: 1 }),
                level: 1,
                proof: 1,
                deadline: 1,
            }
            .into(),
            // Market.
            MarketOrder {
                id: hash,
                market: MarketId { asset: Asset::Cu, run: hash, series: 1 },
                batch: 1,
                owner: key,
                seal: hash,
                held: Held::Money,
                amount: 1,
                terms: Some(OrderTerms { side: Side::Bid, limit: 1, quantity: 1, to: hash }),
            }
            .into(),
            OrderNotes { order: hash, notes: List::new(vec![hash; 6]).expect("six fit") }.into(),
            PricePart {
                asset: Asset::Cu,
                run: hash,
                part: 1,
                points: List::new(vec![point; 4]).expect("four fit"),
            }
            .into(),
            Wrap {
                run: hash,
                account: key,
                counted: 1,
                pending: Some(1),
                now: 1,
                part: crate::accumulator::Part::at(Wide::default()),
                due: 1,
            }
            .into(),
            // Credits.
            LegHosts { order: hash, attempt: 1, part: 1, hosts: List::new(vec![key; 6]).expect("six fit") }
                .into(),
            Attempts {
                order: hash,
                homes: List::new(vec![attempt; crate::credits::params::MAX_ATTEMPTS])
                    .expect("as many as may be"),
            }
            .into(),
            Settlement {
                order: hash,
                chunks: 1,
                payword: hash,
                poster: key,
                height: 1,
                bond: 1,
                legs: List::new(vec![
                    LegHead { attempt: 1, proved: true };
                    crate::credits::params::MAX_ATTEMPTS
                ])
                .expect("as many as may be"),
                fees: 1,
                epoch: 1,
            }
            .into(),
            Host {
                run: hash,
                account: key,
                stage: 1,
                bond: 1,
                cu: 1,
                leaves: Some(1),
                insured: 1,
                refusals: 1,
                refused: 1,
            }
            .into(),
        ];
        for record in largest {
            assert_eq!(Cell::pack(&record).unpack(), Some(record));
        }
    }

    #[test]
    fn a_cell_that_was_not_packed_does_not_unpack() {
        let cell = Cell::pack(&Globals { issued: 1, burned: 2, fund: 3 }.into());
        for at in [0, 1, 2, 60, 255] {
            let mut bytes = cell.0;
            bytes[at] ^= 0x80;
            assert_eq!(Cell(bytes).unpack(), None, "byte {at}");
        }
    }
}
