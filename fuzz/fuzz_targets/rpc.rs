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
use tessera_chain::{
    Block, CellEncoding, CertifiedHeader, ExclusionProof, Header, Identity, Inclusion, PresenceProof,
    ProvedEntry, StateProof,
};
use tessera_ledger::{Cell, Event, Genesis};
use tessera_wire::{RPC, from_frame, rpc, to_frame};

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
        4 => drop(once::<StateProof>(bytes)),
        5 => drop(once::<ProvedEntry>(bytes)),
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
