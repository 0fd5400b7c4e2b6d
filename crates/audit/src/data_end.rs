//! Check both ends of the pipeline without any weights: the tokens that went in, and the labels at the end.
//!
//! The data order of a run is public ([`tessera_model::data`]), so anyone with the corpus, or with a block and its
//! Merkle path, knows what stage 0 must have read and the last stage must have been graded by. That makes attacks at
//! the data end (`verify` 14 row 11) checkable for every unit, at the price of hashing some tokens. What it cannot
//! say is whether the text itself is good.
//!
//! Middle stages see labels that tell them nothing. After aggregation each sender gives out the key of its labels;
//! [`open`] then tells every label's microbatch, and [`check_map`] that all microbatches were worked on once.

use crate::{
    tensors,
    unit::{Label, UnitLeaf, label},
};
use std::collections::BTreeMap;
use tessera_canon::{Hash, MerklePath};
use tessera_model::{
    DataError, Dataset, Microbatch, RunSpec,
    data::{block_digest, block_indices},
};

/// Why a unit at the data end is wrong.
#[derive(Debug, thiserror::Error)]
pub enum DataEndError {
    #[error("stage {stage} does not touch the data; ask the first or the last stage")]
    Middle { stage: u16 },
    #[error("the {what} of microbatch {microbatch} have digest {expected}, the leaf says {got}")]
    Wrong { what: &'static str, microbatch: u32, expected: Hash, got: Hash },
    #[error("microbatch {microbatch} consists of {expected} blocks, got {got}")]
    Blocks { microbatch: u32, expected: usize, got: usize },
    #[error("block {index} is not the one of the run's manifest")]
    Block { index: u32 },
    #[error("label {label:02x?} belongs to no microbatch of the step")]
    UnknownLabel { label: Label },
    #[error("microbatch {microbatch} was worked on {times} times, expected once")]
    Times { microbatch: u32, times: u32 },
    #[error(transparent)]
    Data(#[from] DataError),
}

/// The tokens and labels of a microbatch from blocks that anyone handed over, each proved against the manifest.
pub fn from_blocks(
    spec: &RunSpec,
    step: u64,
    microbatch: u32,
    blocks: &[(Vec<u32>, MerklePath)],
) -> Result<Microbatch, DataEndError> {
    let indices = block_indices(spec, step, microbatch)?;
    if indices.len() != blocks.len() {
        return Err(DataEndError::Blocks { microbatch, expected: indices.len(), got: blocks.len() });
    }
    let mut batch = Microbatch { tokens: Vec::new(), labels: Vec::new() };
    for (index, (block, path)) in indices.iter().zip(blocks) {
        let good = block.len() == spec.model.seq_len as usize + 1
            && path.index == u64::from(*index)
            && path.verify(block_digest(block), &spec.data.manifest_root);
        if !good {
            return Err(DataEndError::Block { index: *index });
        }
        batch.tokens.extend_from_slice(&block[..block.len() - 1]);
        batch.labels.extend_from_slice(&block[1..]);
    }
    Ok(batch)
}

/// Check the end of the pipeline that `leaf` stands at: its tokens on the first stage, its labels on the last.
pub fn check(
    spec: &RunSpec,
    leaf: &UnitLeaf,
    microbatch: u32,
    batch: &Microbatch,
) -> Result<(), DataEndError> {
    let stage = leaf.unit.stage;
    let (first, last) = (stage == 0, stage + 1 == spec.stage_count());
    let compare = |what, values: &[u32], got: Hash| {
        let expected = tensors::tokens(values);
        if expected == got {
            return Ok(());
        }
        Err(DataEndError::Wrong { what, microbatch, expected, got })
    };
    if first {
        compare("tokens", &batch.tokens, leaf.x)?;
    }
    if last {
        compare("labels", &batch.labels, leaf.dy)?;
    }
    if first || last { Ok(()) } else { Err(DataEndError::Middle { stage }) }
}

/// The same for a holder of the corpus.
pub fn check_with(
    data: &Dataset,
    spec: &RunSpec,
    leaf: &UnitLeaf,
    microbatch: u32,
) -> Result<(), DataEndError> {
    check(spec, leaf, microbatch, &data.microbatch(spec, leaf.unit.step, microbatch)?)
}

/// What an opened key says: the microbatch and copy of each label of a step. `copies` is 2 where duplicates are drawn.
pub fn open(key: &Hash, microbatches: u32, copies: u8) -> BTreeMap<Label, (u32, u8)> {
    let all = (0..microbatches).flat_map(|number| (0..copies).map(move |copy| (number, copy)));
    all.map(|(number, copy)| (label(key, number, copy), (number, copy))).collect()
}

/// Check that the labels a stage worked under in a step are all `microbatches` once, copies apart. `opened` joins
/// the maps of all senders. Returns the labels of copies, whose gradients do not count.
pub fn check_map(
    opened: &BTreeMap<Label, (u32, u8)>,
    worked: &[Label],
    microbatches: u32,
) -> Result<Vec<Label>, DataEndError> {
    let mut times = vec![0u32; microbatches as usize];
    let mut copies = Vec::new();
    for label in worked {
        match opened.get(label) {
            Some((number, 0)) if *number < microbatches => times[*number as usize] += 1,
            Some((number, _)) if *number < microbatches => copies.push(*label),
            _ => return Err(DataEndError::UnknownLabel { label: *label }),
        }
    }
    match times.iter().position(|times| *times != 1) {
        Some(at) => Err(DataEndError::Times { microbatch: at as u32, times: times[at] }),
        None => Ok(copies),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{UnitSecret, tests::leaf};
    use tessera_canon::SecretKey;

    #[test]
    fn both_ends_are_checked_with_a_block_and_its_path() {
        let spec = RunSpec::preset("tiny").unwrap();
        let data = Dataset::embedded(&spec).unwrap();
        let key = SecretKey::from_seed([1; 32]);
        for (step, microbatch) in [(0, 0), (3, 2), (11, 3)] {
            let blocks: Vec<(Vec<u32>, MerklePath)> = block_indices(&spec, step, microbatch)
                .unwrap()
                .into_iter()
                .map(|index| (data.block(index).unwrap().to_vec(), data.proof(index).unwrap()))
                .collect();
            let batch = from_blocks(&spec, step, microbatch, &blocks).unwrap();
            assert_eq!(batch, data.microbatch(&spec, step, microbatch).unwrap());

            let mut first = leaf(&key, step, 1);
            (first.unit.stage, first.x) = (0, tensors::tokens(&batch.tokens));
            check_with(&data, &spec, &first, microbatch).unwrap();
            let mut last = leaf(&key, step, 1);
            (last.unit.stage, last.dy) = (spec.stage_count() - 1, tensors::tokens(&batch.labels));
            check_with(&data, &spec, &last, microbatch).unwrap();

            // Attack 11: one label flipped, or another microbatch's tokens.
            let mut flipped = batch.labels.clone();
            flipped[5] = (flipped[5] + 1) % spec.model.vocab;
            last.dy = tensors::tokens(&flipped);
            let found = check_with(&data, &spec, &last, microbatch);
            assert!(matches!(found, Err(DataEndError::Wrong { what: "labels", .. })));
            let other = data.microbatch(&spec, step, (microbatch + 1) % 4).unwrap();
            first.x = tensors::tokens(&other.tokens);
            let found = check_with(&data, &spec, &first, microbatch);
            assert!(matches!(found, Err(DataEndError::Wrong { what: "tokens", .. })));

            let mut forged = blocks.clone();
            forged[0].0[3] ^= 1;
            let refused = from_blocks(&spec, step, microbatch, &forged);
            assert!(matches!(refused, Err(DataEndError::Block { .. })));
            let mut moved = blocks.clone();
            moved.swap(0, 1);
            assert!(from_blocks(&spec, step, microbatch, &moved).is_err());
            assert!(from_blocks(&spec, step, microbatch, &blocks[..1]).is_err());
            let empty = vec![(Vec::new(), blocks[0].1.clone()); 2];
            assert!(from_blocks(&spec, step, microbatch, &empty).is_err());
        }
        let middle = leaf(&key, 0, 1);
        assert!(matches!(check_with(&data, &spec, &middle, 0), Err(DataEndError::Middle { stage: 1 })));
    }

    #[test]
    fn opened_labels_tell_who_left_out_or_repeated_a_microbatch() {
        let secret = UnitSecret::of(&SecretKey::from_seed([1; 32]));
        let run = Hash([4; 32]);
        let opened = open(&secret.label_key(&run, 3, 1), 8, 2);
        assert_eq!(opened.len(), 16);
        let name = |number, copy| secret.label(&run, 3, 1, number, copy);
        let mut worked: Vec<Label> = (0..8).map(|number| name(number, 0)).collect();
        worked.push(name(5, 1));
        assert_eq!(check_map(&opened, &worked, 8).unwrap(), vec![name(5, 1)]);
        let skipped: Vec<Label> = worked.iter().copied().filter(|label| *label != name(2, 0)).collect();
        let found = check_map(&opened, &skipped, 8);
        assert!(matches!(found, Err(DataEndError::Times { microbatch: 2, times: 0 })));
        let twice = [worked.clone(), vec![name(7, 0)]].concat();
        assert!(matches!(
            check_map(&opened, &twice, 8),
            Err(DataEndError::Times { microbatch: 7, times: 2 })
        ));
        worked[0] = [9; 16];
        assert!(matches!(check_map(&opened, &worked, 8), Err(DataEndError::UnknownLabel { .. })));
    }
}
