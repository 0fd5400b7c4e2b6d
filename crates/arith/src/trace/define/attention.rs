//! Trace attention, forward, decoding and backward.
//!
//! A *row* is a query of one head of one sequence; a *pair* is a row and a key. Pairs of a row with keys it does
//! not see have probability and score gradient +0.

use super::{Definition, LANES, Link, Operation, Tracer, Value, ZERO, row::size};
use crate::{
    attention::BACKWARD_ROWS,
    gemm::BLOCK,
    trace::{step::At, tensor::Heads},
};

/// Where a row is.
#[derive(Clone, Copy)]
struct Row {
    sequence: usize,
    head: usize,
    /// Position among the queries of its sequence.
    position: usize,
}

impl Heads {
    fn row(&self, row: usize) -> Row {
        Row {
            sequence: row / (self.heads * self.rows),
            head: row / self.rows % self.heads,
            position: row % self.rows,
        }
    }

    fn row_index(&self, row: Row) -> usize {
        (row.sequence * self.heads + row.head) * self.rows + row.position
    }

    /// How many keys a row sees.
    fn seen(&self, row: Row) -> usize {
        self.keys - self.rows + row.position + 1
    }

    /// The index in `q`, and what is shaped like it, of component `at` of a row.
    fn query(&self, row: Row, at: usize) -> usize {
        ((row.sequence * self.rows + row.position) * self.heads + row.head) * self.head_dim + at
    }

    /// The row and component at an index of `q`.
    fn of_query(&self, index: usize) -> (Row, usize) {
        let (head, position) = (index / self.head_dim, index / self.head_dim / self.heads);
        let row =
            Row { sequence: position / self.rows, head: head % self.heads, position: position % self.rows };
        (row, index % self.head_dim)
    }

    /// The index in `k`, and what is shaped like it, of component `at` of the key that `row` may see.
    fn key(&self, row: Row, key: usize, at: usize) -> usize {
        let head = row.head / self.group();
        ((row.sequence * self.keys + key) * self.kv_heads + head) * self.head_dim + at
    }
}

impl Tracer<'_> {
    pub(super) fn define_attention(&self, at: At) -> Option<Definition<'_>> {
        match *self.operation() {
            Operation::AttentionForward(shape) => self.define_forward(Heads::from(shape), at),
            Operation::AttentionDecode { heads, kv_heads, head_dim, keys } => {
                self.define_forward(Heads { batch: 1, rows: 1, keys, heads, kv_heads, head_dim }, at)
            }
            Operation::AttentionBackward(shape) => {
                let heads = Heads::from(shape);
                self.define_backward(heads, at).or_else(|| self.define_forward(heads, at))
            }
            _ => None,
        }
    }

    /// A product over the components of a head, in blocks.
    fn over_head<'t>(
        &'t self,
        heads: Heads,
        index: usize,
        q: &'static str,
        k: &'static str,
    ) -> Definition<'t> {
        let count = heads.head_dim.div_ceil(BLOCK);
        let (pair, block) = (index / count, index % count);
        let (row, key) = (heads.row(pair / heads.keys), pair % heads.keys);
        self.block(block, heads.head_dim, move |at| {
            [self.input(q, heads.query(row, at)), self.input(k, heads.key(row, key, at))]
        })
    }

    /// An inner value of a pair.
    fn pair(&self, heads: Heads, tensor: &'static str, row: Row, key: usize) -> Value {
        self.inner(tensor, heads.row_index(row) * heads.keys + key)
    }

    fn define_forward(&self, heads: Heads, at: At) -> Option<Definition<'_>> {
        let Heads { keys, head_dim, .. } = heads;
        let (index, components) = (at.index, head_dim.div_ceil(BLOCK));
        Some(match at.tensor {
            "scale" => Definition::program(move |machine| machine.rsqrt(size(head_dim))),
            "score block" => self.over_head(heads, index, "q", "k"),
            "score" => self.blocks("score block", index * components, components, None),
            "scaled" => Definition::program(move |machine| {
                machine.mul(self.inner("score", index), self.inner("scale", 0))
            }),
            "probability" => {
                let (row, key) = (index / keys, index % keys);
                if key >= heads.seen(heads.row(row)) {
                    return Some(Definition::is(ZERO));
                }
                self.normalised(row, key, keys)
            }
            "out block" => {
                let count = keys.div_ceil(BLOCK);
                let (row, component) = heads.of_query(index / count);
                self.block(index % count, heads.seen(row), move |key| {
                    [
                        self.pair(heads, "probability", row, key),
                        self.input("v", heads.key(row, key, component)),
                    ]
                })
            }
            "out" => {
                let (row, _) = heads.of_query(index);
                self.blocks("out block", index * keys.div_ceil(BLOCK), heads.seen(row).div_ceil(BLOCK), None)
            }
            tensor => {
                let row = if tensor.ends_with("lane") { index / LANES } else { index };
                let row = if tensor == "exponential" { index / keys } else { row };
                let seen = heads.seen(heads.row(row));
                return self.exponentials("scaled", true, tensor, index, seen, keys);
            }
        })
    }

    fn define_backward(&self, heads: Heads, at: At) -> Option<Definition<'_>> {
        let Heads { keys, head_dim, kv_heads, rows, .. } = heads;
        let (index, components) = (at.index, head_dim.div_ceil(BLOCK));
        Some(match at.tensor {
            "dprobability block" => self.over_head(heads, index, "dout", "v"),
            "dprobability" => self.blocks("dprobability block", index * components, components, None),
            "dot lane" => {
                let row = index / LANES;
                self.lane(Link::Fma, index % LANES, heads.seen(heads.row(row)), move |key| {
                    let pair = row * keys + key;
                    [self.inner("probability", pair), self.inner("dprobability", pair)]
                })
            }
            "dot" => Definition::program(move |machine| self.folded(machine, "dot lane", index)),
            "dscore" => {
                let row = index / keys;
                if index % keys >= heads.seen(heads.row(row)) {
                    return Some(Definition::is(ZERO));
                }
                Definition::program(move |machine| {
                    let part = machine.sub(self.inner("dprobability", index), self.inner("dot", row));
                    let part = machine.mul(self.inner("probability", index), part);
                    machine.mul(part, self.inner("scale", 0))
                })
            }
            "dq block" => {
                let count = keys.div_ceil(BLOCK);
                let (row, component) = heads.of_query(index / count);
                self.block(index % count, tile_end(heads, row), move |key| {
                    [self.pair(heads, "dscore", row, key), self.input("k", heads.key(row, key, component))]
                })
            }
            "dq" => {
                let (row, _) = heads.of_query(index);
                let used = tile_end(heads, row).div_ceil(BLOCK);
                self.blocks("dq block", index * keys.div_ceil(BLOCK), used, None)
            }
            "dk tile" | "dv tile" => {
                let (pair, input) =
                    if at.tensor == "dk tile" { ("dscore", "q") } else { ("probability", "dout") };
                let (tiles, group) = (heads.tiles(), heads.group());
                let (element, tile) = (index / tiles / group, index % tiles);
                let (position, component) = (element / head_dim / kv_heads, element % head_dim);
                let head = element / head_dim % kv_heads * group + index / tiles % group;
                let (sequence, key) = (position / keys, position % keys);
                let first = tile * BACKWARD_ROWS;
                // Tiles that end before the key add nothing and are not asked for.
                self.block(0, BACKWARD_ROWS.min(rows - first), move |n| {
                    let row = Row { sequence, head, position: first + n };
                    [self.pair(heads, pair, row, key), self.input(input, heads.query(row, component))]
                })
            }
            "dk" | "dv" => {
                let tensor = if at.tensor == "dk" { "dk tile" } else { "dv tile" };
                let (tiles, group) = (heads.tiles(), heads.group());
                // Tile t sees keys up to its end; earlier tiles do not reach this key.
                let skipped = index / head_dim / kv_heads % keys / BACKWARD_ROWS;
                let per_head = tiles - skipped;
                Definition::chain(Link::Add, ZERO, group * per_head, move |n| {
                    let (member, tile) = (n / per_head, skipped + n % per_head);
                    [self.inner(tensor, (index * group + member) * tiles + tile), ZERO]
                })
            }
            _ => return None,
        })
    }
}

/// How many keys the tile of a row's backward pass reaches.
fn tile_end(heads: Heads, row: Row) -> usize {
    ((row.position / BACKWARD_ROWS + 1) * BACKWARD_ROWS).min(heads.rows)
}
