//! Feed arbitrary frames to every decoder of the wire: no panic, and one encoding per value.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tessera_wire::{CONTROL, RPC, SERVING, TENSORS, from_frame, rpc, serving, to_frame, training};

fuzz_target!(|bytes: &[u8]| {
    let frame = Bytes::copy_from_slice(bytes);
    for channel in [CONTROL, TENSORS] {
        if let Ok(message) = from_frame::<training::Message>(channel, &frame) {
            assert_eq!(to_frame(&message), frame);
        }
    }
    if let Ok(message) = from_frame::<rpc::Request>(RPC, &frame) {
        assert_eq!(to_frame(&message), frame);
    }
    if let Ok(message) = from_frame::<rpc::Response>(RPC, &frame) {
        assert_eq!(to_frame(&message), frame);
    }
    if let Ok(message) = from_frame::<serving::ServingMessage>(SERVING, &frame) {
        assert_eq!(to_frame(&message), frame);
    }
});
