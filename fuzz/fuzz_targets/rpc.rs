//! Feed arbitrary bytes to the decoders of questions, answers and proofs, and to the checks of what decodes: no
//! panic, and one encoding per value. A first byte chooses the type, so that small ones are not crowded out.
#![no_main]

use bytes::Bytes;
use commonware_cryptography::blake3::{Blake3, Digest};
use libfuzzer_sys::fuzz_target;
use tessera_canon::{
    Hash, MerklePath,
    codec::{Decode as _, Encode, Read},
    decode, encode,
};
use std::sync::LazyLock;
use tessera_chain::{
    Block, CellEncoding, CertifiedHeader, ExclusionProof, Group, Header, Identity, Inclusion, LightClient,
    PackedCell, PresenceProof, ProvedEntry, StateProof,
};
use tessera_ledger::{Cell, Event, Genesis};
use tessera_wire::{RPC, from_frame, rpc, to_frame};

/// A client of a committee whose secret nobody knows: no proof holds.
static CLIENT: LazyLock<LightClient> = LazyLock::new(|| {
    // The committed specimen of a group key.
    let identity: Identity = "85bcdb782d3c7c11e637d6cc2609ecf1caba021c5c8f7db49d70fb726f863638d2cc9e4ea135776b9e2a3207\
        59907811055a6834140fb33de0b054a7bdd63833d40e12bbdf9828cccc21de1ac819edd4d55bcfd1e0b893793cfb51afedb63bb9"
        .parse()
        .expect("a point of the curve");
    LightClient::new(Hash([5; 32]), &identity).expect("a point of the curve")
});

/// Greatest number of hashes in a proof, as the light client allows.
const MAX_DIGESTS: usize = 192;

fn once<T: Read<Cfg = ()> + Encode>(bytes: &[u8]) -> Option<T> {
    let value = decode::<T>(bytes).ok()?;
    assert_eq!(&encode(&value)[..], bytes);
    Some(value)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let body = Bytes::copy_from_slice(bytes);
    let (key, root) = (Digest([1; 32]), Digest([2; 32]));
    match kind % 14 {
        0 => {
            if let Ok(message) = from_frame::<rpc::Message>(RPC, &body) {
                assert_eq!(to_frame(&message), body);
            }
        }
        1 => drop(once::<rpc::Ask>(bytes)),
        2 => drop(once::<rpc::Answer>(bytes)),
        3 => drop(once::<CertifiedHeader>(bytes)),
        4 => {
            if let Some(proof) = once::<StateProof>(bytes) {
                let keys: Vec<Hash> = (0..proof.entries.len()).map(|at| Hash([at as u8; 32])).collect();
                assert!(CLIENT.verify_state(&proof, &keys).is_err());
            }
        }
        5 => {
            drop(once::<ProvedEntry>(bytes));
            drop(once::<Group>(bytes));
            drop(once::<PackedCell>(bytes));
        }
        6 => drop(once::<Inclusion>(bytes)),
        7 => drop(once::<Event>(bytes)),
        8 => {
            if let Some(header) = once::<Header>(bytes) {
                let _ = (header.digest(), header.beacon(), header.execution(), header.seed_round());
            }
        }
        9 => {
            if let Some(genesis) = once::<Genesis>(bytes) {
                let _ = (genesis.network_id(), genesis.cells());
            }
        }
        10 => {
            if let Ok(proof) = PresenceProof::decode_cfg(body, &(MAX_DIGESTS, ())) {
                assert_eq!(&proof.encode()[..], bytes);
                assert!(!proof.verify::<Blake3, CellEncoding>(key, Cell([3; 256]), &root));
            }
        }
        11 => {
            if let Ok(proof) = ExclusionProof::decode_cfg(body, &(MAX_DIGESTS, (), ())) {
                assert_eq!(&proof.encode()[..], bytes);
                assert!(!proof.verify::<Blake3>(&key, &root));
            }
        }
        12 => {
            if let Some(path) = once::<MerklePath>(bytes) {
                assert!(!path.verify(Hash([4; 32]), &Hash([5; 32])));
            }
        }
        _ => {
            drop(once::<Block>(bytes));
            if let Some(identity) = once::<Identity>(bytes) {
                let _ = identity.point();
            }
        }
    }
});
