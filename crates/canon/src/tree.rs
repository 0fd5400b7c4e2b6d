//! Hash long bytes so that any KiB of them can be shown later by a short path, at the speed of a plain hash.
//!
//! The tree is BLAKE3's own: chunks of 1 KiB, each bound to its number, joined in pairs, the left side of a node
//! the largest power of two of chunks. Its inner values come out of one pass over the bytes; nothing is hashed
//! twice. All values are those of nodes that are no root (BLAKE3's non-root chaining values, in key-derivation mode under one
//! domain), so that a node is joined from its children in the same way wherever it stands; [`bind`] makes the one
//! public hash of it, together with a head that says what the bytes are.
//!
//! [`FAN`] subtrees of equal size, the last one shorter, join to the same value as the pairs between them do. So a
//! tree can be shown in levels of 32 children, as a dispute does, or by a binary [`TreePath`].
//!
//! Empty bytes have no tree. This module does not know what the bytes mean.

use crate::{Domain, Hash, List, digest_parts, record};
use blake3::{
    Hasher,
    hazmat::{
        ContextKey, HasherExt, Mode, hash_derive_key_context, left_subtree_len, merge_subtrees_non_root,
    },
};
use std::sync::LazyLock;

/// Bytes of a chunk.
pub const CHUNK: usize = blake3::CHUNK_LEN;
/// Most children of a node that is shown as a list.
pub const FAN: usize = 32;
/// Most siblings of a chunk: enough for 2^32 chunks.
pub const MAX_TREE_DEPTH: usize = 32;

const BYTES: Domain = Domain::new("tessera/tree-bytes/v1");
const BOUND: Domain = Domain::new("tessera/tree/v1");

static KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(BYTES.name()));

record! {
    /// The siblings from a chunk to the top, bottom up.
    pub struct TreePath {
        /// Number of the chunk.
        pub index: u32,
        /// Chunks of the tree. The top does not bind it: trees that differ in it may share a path, so whoever
        /// checks a path compares this with the length that the tree's head tells.
        pub count: u32,
        pub siblings: List<Hash, MAX_TREE_DEPTH>,
    }
}

/// Hashes bytes that come in pieces to the top of their tree.
pub struct TreeHasher(Hasher);

impl Default for TreeHasher {
    fn default() -> Self {
        Self(Hasher::new_from_context_key(&KEY))
    }
}

impl TreeHasher {
    /// Take the next bytes. Pieces of 16 KiB or more are fastest.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    /// The top of the tree; `None` if there were no bytes.
    pub fn top(&self) -> Option<Hash> {
        (self.0.count() > 0).then(|| Hash(self.0.finalize_non_root()))
    }
}

/// Chunks of so many bytes.
pub fn chunk_count(bytes: usize) -> usize {
    bytes.div_ceil(CHUNK)
}

/// The value of chunk `index`; `None` unless it has 1 to 1024 bytes.
pub fn chunk_value(index: u32, bytes: &[u8]) -> Option<Hash> {
    if bytes.is_empty() || bytes.len() > CHUNK {
        return None;
    }
    let mut hasher = Hasher::new_from_context_key(&KEY);
    hasher.set_input_offset(u64::from(index) * CHUNK as u64).update(bytes);
    Some(Hash(hasher.finalize_non_root()))
}

fn pair(left: &Hash, right: &Hash) -> Hash {
    Hash(merge_subtrees_non_root(&left.0, &right.0, Mode::DeriveKeyMaterial(&KEY)))
}

/// Of `count` subtrees the number on the left side: the largest power of two that leaves some for the right.
fn left(count: usize) -> usize {
    (left_subtree_len(count as u64 * CHUNK as u64) / CHUNK as u64) as usize
}

/// The value of a node from subtrees of equal size, a power of two of chunks; the last may be smaller. `None` for
/// no children. One child is the node itself.
pub fn join(children: &[Hash]) -> Option<Hash> {
    match children {
        [] => None,
        [only] => Some(*only),
        _ => {
            let (left, right) = children.split_at(left(children.len()));
            Some(pair(&join(left)?, &join(right)?))
        }
    }
}

/// The public hash of a tree: its top and a head that says what the bytes are.
pub fn bind(head: &Hash, top: &Hash) -> Hash {
    digest_parts(BOUND, [&head.0[..], &top.0[..]])
}

/// The path of chunk `index` in the tree over `chunks`; `None` where there is no such chunk.
pub fn tree_path(chunks: &[Hash], index: usize) -> Option<TreePath> {
    if index >= chunks.len() {
        return None;
    }
    let (mut siblings, mut rest, mut at) = (Vec::new(), chunks, index);
    while rest.len() > 1 {
        let (left, right) = rest.split_at(left(rest.len()));
        let (next, other) = if at < left.len() { (left, right) } else { (right, left) };
        at -= if at < left.len() { 0 } else { left.len() };
        siblings.push(join(other)?);
        rest = next;
    }
    siblings.reverse();
    let (index, count) = (u32::try_from(index).ok()?, u32::try_from(chunks.len()).ok()?);
    Some(TreePath { index, count, siblings: List::new(siblings).ok()? })
}

impl TreePath {
    /// The top of the tree in which these bytes are the path's chunk; `None` if there is no such tree.
    pub fn top(&self, chunk: &[u8]) -> Option<Hash> {
        let mut sides = Vec::new();
        let (mut at, mut count) = (self.index as usize, self.count as usize);
        if at >= count {
            return None;
        }
        while count > 1 {
            let left = left(count);
            sides.push(at < left);
            (at, count) = if at < left { (at, left) } else { (at - left, count - left) };
        }
        // All chunks but the last are full.
        let full = chunk.len() == CHUNK || self.index + 1 == self.count;
        if sides.len() != self.siblings.len() || !full {
            return None;
        }
        let mut value = chunk_value(self.index, chunk)?;
        for (is_left, sibling) in sides.iter().rev().zip(self.siblings.iter()) {
            value = if *is_left { pair(&value, sibling) } else { pair(sibling, &value) };
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
    }
    fn top(bytes: &[u8]) -> Hash {
        let mut hasher = TreeHasher::default();
        bytes.chunks(5000).for_each(|piece| hasher.update(piece));
        hasher.top().unwrap()
    }
    fn chunks(bytes: &[u8]) -> Vec<Hash> {
        bytes.chunks(CHUNK).enumerate().map(|(at, chunk)| chunk_value(at as u32, chunk).unwrap()).collect()
    }

    #[test]
    fn one_pass_levels_of_children_and_paths_give_the_same_top() {
        for count in [1, 2, 3, 31, 32, 33, 63, 64, 65, 97, 1024, 1025, 3 * 1024 + 77] {
            let bytes = bytes(count * CHUNK - 5);
            let (top, chunks) = (top(&bytes), chunks(&bytes));
            assert_eq!(chunks.len(), chunk_count(bytes.len()));
            assert_eq!(join(&chunks), Some(top), "{count} chunks");
            let mut level = chunks.clone();
            while level.len() > 1 {
                level = level.chunks(FAN).map(|children| join(children).unwrap()).collect();
            }
            assert_eq!(level, [top], "{count} chunks in levels");
            for index in [0, count / 2, count - 1] {
                let path = tree_path(&chunks, index).unwrap();
                let chunk = &bytes[index * CHUNK..bytes.len().min((index + 1) * CHUNK)];
                assert_eq!(path.top(chunk), Some(top), "chunk {index} of {count}");
                let mut other = chunk.to_vec();
                other[7] ^= 1;
                assert_ne!(path.top(&other), Some(top));
                for (index, more) in [(path.index ^ 1, 0), (path.index + 1, 1)] {
                    let moved = TreePath { index, count: path.count + more, ..path.clone() };
                    assert_ne!(moved.top(chunk), Some(top));
                }
            }
            assert!(tree_path(&chunks, count).is_none());
        }
    }

    #[test]
    fn nothing_and_too_much_have_no_value() {
        assert_eq!(TreeHasher::default().top(), None);
        assert_eq!((join(&[]), chunk_value(0, &[]), chunk_value(0, &[0; CHUNK + 1])), (None, None, None));
        let none = TreePath { index: 0, count: 0, siblings: List::default() };
        assert_eq!(none.top(&[1]), None);
        let short = TreePath { index: 0, count: 2, siblings: List::new(vec![Hash::ZERO]).unwrap() };
        assert_eq!(short.top(&[1; 5]), None);
        assert!(short.top(&[1; CHUNK]).is_some());
        assert_ne!(bind(&Hash::ZERO, &Hash([1; 32])), bind(&Hash([1; 32]), &Hash::ZERO));
    }
}
