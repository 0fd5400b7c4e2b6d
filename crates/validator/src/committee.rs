//! Deal the first committee's keys: one public polynomial, one secret share per validator.
//!
//! A new network starts from a trusted dealer: whoever runs [`deal`] sees every share for a moment and must
//! forget them. Replacing the dealer by distributed key generation, and re-sharing to later committees under
//! the same group key, is the engine library's `dkg` module and comes with committee changes.

use commonware_consensus::types::Participant;
use commonware_cryptography::bls12381::{
    dkg::feldman_desmedt,
    primitives::{
        group::Share,
        sharing::{Mode, ModeVersion, Sharing},
        variant::MinSig,
    },
};
use commonware_cryptography::ed25519;
use commonware_utils::{
    N3f1, TryCollect as _,
    ordered::{Quorum as _, Set},
};
use rand::{SeedableRng as _, rngs::StdRng};
use std::num::NonZeroU32;
use tessera_canon::{
    Blob, Hash, List, PublicKey,
    bytes::Bytes,
    codec::{Decode as _, DecodeExt as _},
    decode, encode, record,
};
use tessera_chain::{Identity, Scheme, consensus_key, consensus_namespace};

/// Most validators in a committee.
pub const MAX_MEMBERS: usize = 128;
const MAX_POLYNOMIAL_BYTES: usize = 16 << 10;
const MAX_SHARE_BYTES: usize = 64;

record! {
    /// The public side of a committee. Its encoding is [`tessera_ledger::Genesis::consensus`].
    pub struct Committee {
        /// Members in ascending order of their keys.
        pub members: List<PublicKey, MAX_MEMBERS>,
        /// Commitment to the secret polynomial; its constant term is the group key.
        pub polynomial: Blob<MAX_POLYNOMIAL_BYTES>,
    }
}

/// One validator's secret part of the group key. Written to a file as hexadecimal digits, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretShare(Blob<MAX_SHARE_BYTES>);

impl std::fmt::Debug for SecretShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretShare")
    }
}

/// Why a committee or a share cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// The number of members is impossible.
    #[error("a committee has 1 to {MAX_MEMBERS} different members with Ed25519 keys, got {got}")]
    Members { got: usize },
    /// The committee's bytes are malformed.
    #[error("the committee in the genesis is malformed: {reason}")]
    Malformed { reason: &'static str },
    /// The share's digits are malformed.
    #[error("expected the secret share as hexadecimal digits of its canonical encoding; {reason}")]
    Share { reason: &'static str },
    /// The share is another member's or another committee's.
    #[error(
        "the secret share does not belong to this committee and key: use the share dealt with this genesis"
    )]
    ForeignShare,
}

/// Deal a committee of `members` from a secret 32-byte seed. Same input, same keys; throw the seed away.
pub fn deal(
    members: &[PublicKey],
    seed: [u8; 32],
) -> Result<(Committee, Vec<(PublicKey, SecretShare)>), CommitteeError> {
    let set = member_set(members)?;
    let (output, shares) =
        feldman_desmedt::deal::<MinSig, _, N3f1>(StdRng::from_seed(seed), Mode::NonZeroCounter, set)
            .map_err(|_| CommitteeError::Members { got: members.len() })?;
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let malformed = |_| CommitteeError::Malformed { reason: "too long" };
    let committee = Committee {
        members: List::new(sorted.clone()).map_err(malformed)?,
        polynomial: Blob::new(encode(output.public())).map_err(malformed)?,
    };
    let dealt = sorted.into_iter().map(|member| {
        let key = consensus_key(&member).ok_or(CommitteeError::Members { got: members.len() })?;
        let share = shares.get_value(&key).ok_or(CommitteeError::Members { got: members.len() })?;
        Ok((member, SecretShare(Blob::new(encode(share)).map_err(malformed)?)))
    });
    Ok((committee, dealt.collect::<Result<_, _>>()?))
}

fn member_set(members: &[PublicKey]) -> Result<Set<ed25519::PublicKey>, CommitteeError> {
    let bad = || CommitteeError::Members { got: members.len() };
    if members.is_empty() || members.len() > MAX_MEMBERS {
        return Err(bad());
    }
    let keys: Vec<_> = members.iter().map(consensus_key).collect::<Option<_>>().ok_or_else(bad)?;
    keys.into_iter().try_collect::<Set<_>>().map_err(|_| bad())
}

impl Committee {
    /// From the bytes in a genesis.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CommitteeError> {
        let committee: Self =
            decode(bytes).map_err(|_| CommitteeError::Malformed { reason: "not a committee" })?;
        committee.parts()?;
        Ok(committee)
    }
    /// The bytes that a genesis carries.
    pub fn to_bytes(&self) -> Bytes {
        encode(self)
    }
    /// What light clients trust.
    pub fn identity(&self) -> Result<Identity, CommitteeError> {
        Ok(Identity::from_point(self.parts()?.1.public()))
    }
    /// Members and polynomial, checked against each other, so that building a scheme cannot panic.
    fn parts(&self) -> Result<(Set<ed25519::PublicKey>, Sharing<MinSig>), CommitteeError> {
        if self.members.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(CommitteeError::Malformed { reason: "members are not in ascending order" });
        }
        let set = member_set(&self.members)?;
        let total = NonZeroU32::new(set.len() as u32).ok_or(CommitteeError::Members { got: 0 })?;
        let sharing =
            Sharing::<MinSig>::decode_cfg(self.polynomial.bytes().clone(), &(total, ModeVersion::v0()))
                .map_err(|_| CommitteeError::Malformed { reason: "the polynomial does not decode" })?;
        if sharing.total() != total || sharing.required() != set.quorum::<N3f1>() {
            return Err(CommitteeError::Malformed {
                reason: "the polynomial is for another number of members",
            });
        }
        Ok((set, sharing))
    }
    /// The signing scheme of member `me` on `network`.
    pub(crate) fn signer(
        &self,
        network: &Hash,
        me: &PublicKey,
        share: &SecretShare,
    ) -> Result<Scheme, CommitteeError> {
        let (set, sharing) = self.parts()?;
        let share = Share::decode(share.0.bytes().clone())
            .map_err(|_| CommitteeError::Share { reason: "the scalar does not decode" })?;
        let place = self.members.iter().position(|member| member == me);
        if place.map(Participant::from_usize) != Some(share.index) {
            return Err(CommitteeError::ForeignShare);
        }
        Scheme::signer(&consensus_namespace(network), set, sharing, share).ok_or(CommitteeError::ForeignShare)
    }
}

impl SecretShare {
    /// The digits to keep in a private file.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    /// Read the digits of [`SecretShare::to_hex`]; white space at the ends is allowed.
    pub fn from_hex(text: &str) -> Result<Self, CommitteeError> {
        let text = text.trim();
        let bad = |reason| CommitteeError::Share { reason };
        if !text.is_ascii() || !text.len().is_multiple_of(2) || text.len() > 2 * MAX_SHARE_BYTES {
            return Err(bad("the length or a character is wrong"));
        }
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
            .collect::<Result<_, _>>()
            .map_err(|_| bad("a character is not a digit"))?;
        Share::decode(Bytes::from(bytes.clone())).map_err(|_| bad("the scalar does not decode"))?;
        Blob::new(bytes).map(Self).map_err(|_| bad("it is too long"))
    }
}
