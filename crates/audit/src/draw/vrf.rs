//! Draw in private and prove it later: ECVRF-EDWARDS25519-SHA512-TAI of RFC 9381, on the identity's own Ed25519 key.
//!
//! **Which library, and why.** `vrf-rfc9381`, pinned exactly. It builds on the `curve25519-dalek` and `sha2` that are
//! here already, is short enough to read (450 lines), and the RFC's vectors are a test below. It is young and not
//! audited, so two things are not left to it: a proof is accepted only in its one encoding (the library would reduce
//! a scalar above the group order, RFC 9381 5.4.4 refuses it), and nothing but the choice of duplicates and canaries
//! depends on it. `vrf-r255` is as good but needs a key of its own and an older curve library. BLS signatures would
//! do as well and need a key of their own too, bound to the identity before the draw: that is one more thing to
//! register and to get wrong. Ed25519 signatures are not unique and can never serve.
//!
//! **One key for two schemes.** A secret nonce is derived from the key and the message in both. A signature's message
//! here is a BLAKE3 digest or a TLS transcript, a proof's is a curve point that the caller's input hashes to; for one
//! nonce to serve twice a digest would have to equal such a point.

use tessera_canon::{Domain, Hash, PublicKey, SecretKey, codec::Encode, digest, record};
use vrf_rfc9381::{
    Proof as _, Prover as _, VRF as _, Verifier as _,
    ec::edwards25519::tai::{
        EdVrfEdwards25519Tai, EdVrfEdwards25519TaiPublicKey, EdVrfEdwards25519TaiSecretKey,
    },
};

/// Bytes of a proof.
pub const PROOF_BYTES: usize = 80;

record! {
    /// Proof that an output belongs to a key and an input: `pi_string` of the RFC.
    pub struct VrfProof { pub pi: [u8; PROOF_BYTES] }
}

/// A draw with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The first half of `beta_string`: uniform to whoever lacks the key.
    pub output: Hash,
    pub proof: VrfProof,
}

/// The output of `key` for `value` under `domain`.
pub fn draw<T: Encode>(key: &SecretKey, domain: Domain, value: &T) -> Drawn {
    let alpha = digest(domain, value);
    let drawn = prove(key, &alpha.0);
    drawn.expect("a seed has 32 bytes, and one of 255 hashes is a curve point but for one input in 2^255")
}

fn prove(key: &SecretKey, alpha: &[u8]) -> Option<Drawn> {
    let key = EdVrfEdwards25519TaiSecretKey::from_slice(&key.seed()).ok()?;
    let proof = key.prove(alpha).ok()?;
    let beta = proof.proof_to_hash(EdVrfEdwards25519Tai.ciphersuite()).ok()?;
    let pi = proof.encode_to_pi().try_into().ok()?;
    Some(Drawn { output: first_half(&beta)?, proof: VrfProof { pi } })
}

/// The output that `proof` proves for `key` and `value` under `domain`; `None` if it proves nothing.
pub fn check<T: Encode>(key: &PublicKey, domain: Domain, value: &T, proof: &VrfProof) -> Option<Hash> {
    verify(key, &digest(domain, value).0, &proof.pi)
}

fn verify(key: &PublicKey, alpha: &[u8], pi: &[u8; PROOF_BYTES]) -> Option<Hash> {
    type Proof = <EdVrfEdwards25519Tai as vrf_rfc9381::VRF>::Proof;
    let key = EdVrfEdwards25519TaiPublicKey::from_slice(&key.0).ok()?;
    let proof = Proof::decode_pi(pi).ok()?;
    if proof.encode_to_pi() != pi {
        return None;
    }
    first_half(&key.verify(alpha, proof).ok()?)
}

fn first_half(beta: &[u8]) -> Option<Hash> {
    Some(Hash(*beta.first_chunk::<32>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::unhex;

    /// RFC 9381 appendix B.3, examples 16 to 18: secret key, public key, alpha, pi, beta.
    const VECTORS: [[&str; 5]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
            "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
            "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
            "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c452118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
        ],
    ];

    #[test]
    fn the_vectors_of_rfc_9381_hold() {
        for [secret, public, alpha, pi, beta] in VECTORS {
            let key = SecretKey::from_seed(unhex(secret).unwrap().try_into().unwrap());
            assert_eq!(key.public().to_string(), public);
            let drawn = prove(&key, &unhex(alpha).unwrap()).unwrap();
            assert_eq!(drawn.proof.pi.to_vec(), unhex(pi).unwrap());
            assert_eq!(drawn.output.0[..], unhex(beta).unwrap()[..32]);
            assert_eq!(verify(&key.public(), &unhex(alpha).unwrap(), &drawn.proof.pi), Some(drawn.output));
        }
    }

    #[test]
    fn a_proof_holds_for_one_key_one_input_and_in_one_form() {
        let (domain, other) = (Domain::new("tessera/test-vrf/v1"), Domain::new("tessera/test-other/v1"));
        let (a, b) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let drawn = draw(&a, domain, &7u64);
        assert_eq!(drawn, draw(&a, domain, &7u64));
        assert_eq!(check(&a.public(), domain, &7u64, &drawn.proof), Some(drawn.output));
        assert_eq!(check(&b.public(), domain, &7u64, &drawn.proof), None);
        assert_eq!(check(&a.public(), other, &7u64, &drawn.proof), None);
        assert_eq!(check(&a.public(), domain, &8u64, &drawn.proof), None);
        for at in 0..PROOF_BYTES {
            let mut pi = drawn.proof.pi;
            pi[at] ^= 1;
            assert_eq!(check(&a.public(), domain, &7u64, &VrfProof { pi }), None, "byte {at}");
        }
        // s + q is the same scalar in another form: q = 2^252 + 27742317777372353535851937790883648493.
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut pi = drawn.proof.pi;
        let mut carry = 0u16;
        for (byte, add) in pi[48..].iter_mut().zip(ORDER) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry as u8;
            carry >>= 8;
        }
        assert_eq!(check(&a.public(), domain, &7u64, &VrfProof { pi }), None, "a scalar above the order");
        assert_eq!(check(&PublicKey([0; 32]), domain, &7u64, &drawn.proof), None, "a point of small order");
    }
}
