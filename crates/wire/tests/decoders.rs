//! No bytes from a peer make a decoder panic, take memory they did not bring, or accept two encodings of one value.

use bytes::Bytes;
use proptest::prelude::*;
use tessera_canon::{Blob, Hash, List, SecretKey, digest_bytes, encode};
use tessera_ledger::action::{WindowReport, WorkEntry};
use tessera_wire::{
    CONTROL, FrameError, RPC, SERVING, TENSORS, Tensor, VERSION, from_frame, limit_of, rpc, serving,
    to_frame, training::*,
};

/// One message of every kind of the training protocol.
fn examples() -> Vec<Message> {
    let key = SecretKey::from_seed([9; 32]);
    let run = Hash([1; 32]);
    let id = UnitId { run, step: 7, unit: 3 };
    let tensor = Tensor::from_f32(&[0.5, -1.25], 1, 2).unwrap();
    let units = Blob::new(vec![0b101, 0b1]).unwrap();
    let vote = Vote { run, stage: 2, progress: 8, state_root: Hash([4; 32]) };
    let report = WindowReport {
        network: Hash([2; 32]),
        run,
        window: 1,
        stage: 2,
        entries: List::new(vec![WorkEntry { account: key.public(), microbatches: 40 }]).unwrap(),
        generation: 0,
        anchor: Hash([6; 32]),
        state_root: Hash([5; 32]),
        loss: Some(4_321_000),
    };
    let record = StepRecord {
        step: 7,
        state_root: Hash([4; 32]),
        credits: List::new(vec![StepCredit {
            account: key.public(),
            microbatches: 4,
            header: Hash([8; 32]),
        }])
        .unwrap(),
        loss: Some(5_000_000),
    };
    vec![
        Hello {
            network: Hash([2; 32]),
            run,
            stage: 1,
            seat: 0,
            incarnation: 99,
            progress: 7,
            state_root: Hash([4; 32]),
            ready: true,
        }
        .into(),
        Activation {
            id: id.clone(),
            replay: true,
            tensor: tensor.clone(),
            signature: Some(key.sign(VOTE, &vote)),
        }
        .into(),
        Gradient { id: id.clone(), tensor, signature: None }.into(),
        Seek { id: id.clone() }.into(),
        Sought { id, found: false }.into(),
        Have {
            run,
            step: 7,
            incarnation: 99,
            units: units.clone(),
            losses: List::new(vec![Measured { unit: 8, loss: 1 }]).unwrap(),
        }
        .into(),
        WantPartial { run, step: 7, units: units.clone() }.into(),
        Partial { run, step: 7, units: units.clone(), sum: Blob::new(vec![1, 2, 3]).unwrap() }.into(),
        SignedVote { signature: key.sign(VOTE, &vote), vote }.into(),
        WantState { run, stage: 1 }.into(),
        StateManifest {
            run,
            stage: 1,
            progress: 7,
            state_root: Hash([4; 32]),
            bytes: 300_000,
            pieces: List::new(vec![Hash([6; 32]), Hash([7; 32])]).unwrap(),
            records: List::new(vec![record]).unwrap(),
        }
        .into(),
        WantPiece { run, state_root: Hash([4; 32]), index: 1 }.into(),
        Piece { run, state_root: Hash([4; 32]), index: 1, bytes: Blob::new(vec![8; 100]).unwrap() }.into(),
        Cosign { signature: key.sign(tessera_ledger::action::REPORT, &report), report }.into(),
        WantUnits { run, step: 7, units }.into(),
        Audit { message: Blob::new(vec![3; 40]).unwrap() }.into(),
    ]
}

/// The format is fixed: a change of any byte of any message changes this hash and needs a new [`VERSION`].
#[test]
fn the_training_format_has_not_changed() {
    let all: Vec<u8> = examples().iter().flat_map(|m| encode(m).to_vec()).collect();
    let hash = digest_bytes(tessera_canon::Domain::new("tessera/wire-conformance/v1"), &all);
    assert_eq!(hash.to_string(), FORMAT, "version {VERSION}");
}
const FORMAT: &str = "8a590b2c797b7f21555c494b4fe539595dc3fa73cfd8c24af121f5cff526f84d";

#[test]
fn every_message_survives_its_frame() {
    for message in examples() {
        let channel = message.channel();
        assert_eq!(from_frame::<Message>(channel, &to_frame(&message)).unwrap(), message);
    }
}

#[test]
fn frames_are_refused_by_name() {
    let good = to_frame(&examples()[0]);
    let mut other = good.to_vec();
    other[0] = VERSION + 1;
    let refuse = |channel, bytes: Vec<u8>| from_frame::<Message>(channel, &Bytes::from(bytes)).unwrap_err();
    assert!(matches!(refuse(CONTROL, vec![]), FrameError::Empty { channel: CONTROL }));
    assert!(matches!(refuse(CONTROL, other), FrameError::Version { got } if got == VERSION + 1));
    assert!(matches!(refuse(CONTROL, vec![VERSION; limit_of(CONTROL) + 1]), FrameError::TooBig { .. }));
    assert!(matches!(refuse(CONTROL, good[..good.len() - 1].to_vec()), FrameError::Decode(_)));
    let mut longer = good.to_vec();
    longer.push(0);
    assert!(matches!(refuse(CONTROL, longer), FrameError::Decode(_)));
    assert!(matches!(refuse(200, good.to_vec()), FrameError::TooBig { max: 0, .. }));
}

#[test]
fn a_length_that_was_not_sent_takes_no_memory() {
    // A list of 65,536 pieces announced in a message of a few bytes.
    let mut bytes = vec![VERSION, 10];
    bytes.extend_from_slice(&[0; 32 + 2 + 8 + 32 + 8]);
    bytes.extend_from_slice(&[0x80, 0x80, 0x04]);
    assert!(matches!(from_frame::<Message>(TENSORS, &Bytes::from(bytes)), Err(FrameError::Decode(_))));
}

proptest! {
    #[test]
    fn garbage_never_panics_and_what_decodes_encodes_to_the_same_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        kind in 0u8..16,
    ) {
        let mut frame = vec![VERSION, kind];
        frame.extend(bytes);
        let frame = Bytes::from(frame);
        if let Ok(message) = from_frame::<Message>(TENSORS, &frame) {
            prop_assert_eq!(to_frame(&message), frame.clone());
        }
        if let Ok(message) = from_frame::<serving::ServingMessage>(SERVING, &frame) {
            prop_assert_eq!(to_frame(&message), frame.clone());
        }
        if let Ok(message) = from_frame::<rpc::Request>(RPC, &frame) {
            prop_assert_eq!(to_frame(&message), frame.clone());
        }
        if let Ok(message) = from_frame::<rpc::Response>(RPC, &frame) {
            prop_assert_eq!(to_frame(&message), frame);
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_or_is_another_message(which in 0usize..15, at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let message = examples().swap_remove(which);
        let frame = to_frame(&message);
        let mut bytes = frame.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = from_frame::<Message>(TENSORS, &Bytes::from(bytes)) {
            prop_assert_ne!(other, message);
        }
    }
}
