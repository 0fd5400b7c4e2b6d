//! Train the embedded byte-level BPE on the training part of the default corpus and write it as JSON.
//!
//! `cargo run -p tessera-model --example train_tokenizer -- crates/model/data/tokenizer.json`
//! Training is deterministic; running it again must leave the committed file unchanged.

use std::{collections::HashSet, error::Error};
use tessera_model::corpus;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
    models::bpe::{BPE, BpeTrainer, BpeTrainerBuilder},
    pre_tokenizers::byte_level::ByteLevel,
};

/// Bytes and merges. A smaller vocabulary is a prefix of this one, see `Tokenizer::embedded`.
const VOCABULARY: usize = 4096;

type Bpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: train_tokenizer <file to write>")?;
    let alphabet: HashSet<char> = ByteLevel::alphabet().into_iter().collect();
    let mut trainer: BpeTrainer = BpeTrainerBuilder::new()
        .vocab_size(VOCABULARY)
        .show_progress(false)
        .initial_alphabet(alphabet)
        .special_tokens(Vec::<AddedToken>::new())
        .build();
    let mut tokenizer = Bpe::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, true))))
        .with_decoder(Some(DecoderWrapper::ByteLevel(ByteLevel::default())));
    let (train, _) = corpus::split(corpus::MOBY_DICK);
    tokenizer.train(&mut trainer, std::iter::once(train)).map_err(|e| e.to_string())?;
    std::fs::write(&path, tokenizer.to_string(false).map_err(|e| e.to_string())?)?;
    println!("wrote {} entries to {path}", tokenizer.get_vocab_size(false));
    Ok(())
}
