//! Turn text into tokens and back without loss, for any text, one byte-level BPE per run.
//!
//! The embedded tokenizer has 4096 entries: the 256 bytes, then merges in the order they were learned. Any
//! smaller vocabulary is a prefix of it, so every preset shares one file. Decoding works on bytes: a
//! token may end inside a character, and [`TextStream`] holds such a tail back until the rest arrives.

use serde::Deserialize;
use std::collections::BTreeMap;
use tessera_canon::{Domain, Hash, digest_parts};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
    models::bpe::BPE, pre_tokenizers::byte_level::ByteLevel,
};

const TOKENIZER: Domain = Domain::new("tessera/tokenizer/v1");
const EMBEDDED: &str = include_str!("../data/tokenizer.json");
/// Longest accepted tokenizer file, bytes.
pub(crate) const MAX_TOKENIZER_BYTES: usize = 32 << 20;

type Bpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Why a tokenizer or a text was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file is not a byte-level BPE `tokenizer.json` of the expected kind.
    #[error("tokenizer file: expected {expected}, got {got}; train one with the example train_tokenizer")]
    File { expected: &'static str, got: String },
    /// More entries were asked for than the file has, or fewer than the 256 bytes.
    #[error("vocabulary: expected 256 to {most} entries for this tokenizer, got {got}; correct model.vocab")]
    Vocabulary { most: usize, got: usize },
    /// The library refused to encode.
    #[error("cannot tokenise the text: {0}")]
    Encode(String),
    /// A token outside the vocabulary.
    #[error("token {got} is outside the vocabulary of {vocabulary} entries")]
    Token { got: u32, vocabulary: usize },
}

/// A byte-level BPE.
pub struct Tokenizer {
    bpe: Bpe,
    bytes: Vec<Vec<u8>>,
    hash: Hash,
}

#[derive(Deserialize)]
struct File {
    model: FileModel,
}
#[derive(Deserialize)]
struct FileModel {
    vocab: BTreeMap<String, u32>,
    merges: Vec<(String, String)>,
}

impl Tokenizer {
    /// The first `vocabulary` entries of the embedded tokenizer.
    pub fn embedded(vocabulary: usize) -> Result<Self, TokenizerError> {
        Self::from_json(EMBEDDED, vocabulary)
    }

    /// The first `vocabulary` entries of a `tokenizer.json` with a byte-level BPE and no special tokens.
    pub fn from_json(json: &str, vocabulary: usize) -> Result<Self, TokenizerError> {
        let refuse = |expected, got: String| TokenizerError::File { expected, got };
        if json.len() > MAX_TOKENIZER_BYTES {
            return Err(refuse("at most 32 MiB", format!("{} bytes", json.len())));
        }
        let file: File = serde_json::from_str(json)
            .map_err(|error| refuse("JSON with model.vocab and model.merges", error.to_string()))?;
        let most = file.model.vocab.len();
        if !(256..=most).contains(&vocabulary) {
            return Err(TokenizerError::Vocabulary { most, got: vocabulary });
        }
        let byte_of = byte_alphabet();
        let mut bytes = vec![None; vocabulary];
        let mut kept = BTreeMap::new();
        for (text, id) in file.model.vocab {
            let Some(slot) = bytes.get_mut(id as usize) else { continue };
            let raw: Option<Vec<u8>> = text.chars().map(|c| byte_of.get(&c).copied()).collect();
            let raw = raw.ok_or_else(|| refuse("entries in the byte-level alphabet", format!("{text:?}")))?;
            if slot.replace(raw).is_some() {
                return Err(refuse("one entry a number", format!("two with number {id}")));
            }
            kept.insert(text, id);
        }
        let bytes: Option<Vec<Vec<u8>>> = bytes.into_iter().collect();
        let bytes = bytes.ok_or_else(|| refuse("entries numbered without gaps", "a gap".into()))?;
        if byte_of.keys().any(|c| !kept.contains_key(&c.to_string())) {
            return Err(refuse("all 256 bytes among the entries", "fewer".into()));
        }
        let known = |text: &String| kept.contains_key(text);
        let merges: Vec<(String, String)> = file
            .model
            .merges
            .into_iter()
            .filter(|(a, b)| known(a) && known(b) && known(&format!("{a}{b}")))
            .collect();
        let hash = hash_of(&bytes, &kept, &merges);
        let vocab: Vec<(String, u32)> = kept.into_iter().collect();
        let model = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
            .build()
            .map_err(|error| refuse("merges of known entries", error.to_string()))?;
        let mut bpe = Bpe::new(model);
        bpe.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, true))));
        Ok(Self { bpe, bytes, hash })
    }

    /// Number of entries.
    pub fn vocabulary(&self) -> usize {
        self.bytes.len()
    }
    /// Identity: hash over every entry and merge. Part of the run spec.
    pub fn hash(&self) -> Hash {
        self.hash
    }
    /// The tokens of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding =
            self.bpe.encode_fast(text, false).map_err(|e| TokenizerError::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
    /// The bytes of one token, which may be part of a character.
    pub fn token_bytes(&self, token: u32) -> Result<&[u8], TokenizerError> {
        let bytes = self.bytes.get(token as usize).map(Vec::as_slice);
        bytes.ok_or(TokenizerError::Token { got: token, vocabulary: self.bytes.len() })
    }
    /// The text of `tokens`; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        let mut bytes = Vec::new();
        for &token in tokens {
            bytes.extend_from_slice(self.token_bytes(token)?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
    /// A decoder that takes tokens one at a time.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, tail: Vec::new() }
    }
}

/// Decodes token by token; characters appear when they are complete.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    tail: Vec<u8>,
}

impl TextStream<'_> {
    /// The text that `token` completes; empty while a character is unfinished.
    pub fn push(&mut self, token: u32) -> Result<String, TokenizerError> {
        self.tail.extend_from_slice(self.tokenizer.token_bytes(token)?);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.tail) {
                Ok(rest) => {
                    text.push_str(rest);
                    self.tail.clear();
                    return Ok(text);
                }
                Err(error) => {
                    let good = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.tail[..good]));
                    let Some(bad) = error.error_len() else {
                        self.tail.drain(..good);
                        return Ok(text);
                    };
                    text.push('\u{FFFD}');
                    self.tail.drain(..good + bad);
                }
            }
        }
    }
    /// What is left at the end: U+FFFD for an unfinished character, else nothing.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}

/// GPT-2's printable stand-ins for bytes: visible Latin-1 characters stand for themselves, the other bytes,
/// in order, for the characters from U+0100 on.
fn byte_alphabet() -> BTreeMap<char, u8> {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden = (0..=255u8).filter(|&byte| !visible(byte));
    let stand_ins = hidden.zip('\u{100}'..).map(|(byte, c)| (c, byte));
    (0..=255u8).filter(|&byte| visible(byte)).map(|byte| (char::from(byte), byte)).chain(stand_ins).collect()
}

fn hash_of(bytes: &[Vec<u8>], ids: &BTreeMap<String, u32>, merges: &[(String, String)]) -> Hash {
    let mut parts: Vec<Vec<u8>> = vec![(bytes.len() as u32).to_be_bytes().to_vec()];
    for entry in bytes {
        parts.push((entry.len() as u32).to_be_bytes().to_vec());
        parts.push(entry.clone());
    }
    for (a, b) in merges {
        parts.push([ids[a].to_be_bytes(), ids[b].to_be_bytes()].concat());
    }
    digest_parts(TOKENIZER, parts.iter().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static SMALL: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::embedded(1024).unwrap());

    proptest! {
        #[test]
        fn any_text_survives(text in any::<String>()) {
            let tokens = SMALL.encode(&text).unwrap();
            prop_assert_eq!(SMALL.decode(&tokens).unwrap(), text.clone());
            let mut stream = SMALL.stream();
            let mut streamed: String = tokens.iter().map(|&t| stream.push(t).unwrap()).collect();
            streamed += &stream.finish();
            prop_assert_eq!(streamed, text);
        }
        #[test]
        fn a_stream_of_any_tokens_says_what_decode_says(tokens in prop::collection::vec(0u32..1024, 0..40)) {
            let mut stream = SMALL.stream();
            let mut streamed: String = tokens.iter().map(|&t| stream.push(t).unwrap()).collect();
            streamed += &stream.finish();
            prop_assert_eq!(streamed, SMALL.decode(&tokens).unwrap());
        }
    }

    #[test]
    fn smaller_vocabularies_are_prefixes_and_have_their_own_identity() {
        let (small, large) = (Tokenizer::embedded(256).unwrap(), Tokenizer::embedded(4096).unwrap());
        for token in 0..256 {
            assert_eq!(small.token_bytes(token).unwrap(), large.token_bytes(token).unwrap());
        }
        assert_ne!(small.hash(), large.hash());
        assert_eq!(small.encode("whale").unwrap().len(), 5);
        assert!(large.encode(" whale").unwrap().len() == 1, "the corpus is about one");
    }

    #[test]
    fn refusals_say_what_was_expected() {
        let vocabulary = Tokenizer::embedded(5000).err().unwrap().to_string();
        assert!(vocabulary.contains("256 to 4096") && vocabulary.contains("5000"), "{vocabulary}");
        assert!(Tokenizer::from_json("{}", 256).is_err());
        assert!(Tokenizer::from_json(r#"{"model":{"vocab":{"a":0},"merges":[]}}"#, 256).is_err());
        assert!(matches!(SMALL.decode(&[1024]), Err(TokenizerError::Token { got: 1024, .. })));
    }
}
