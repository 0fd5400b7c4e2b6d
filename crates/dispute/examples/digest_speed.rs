//! Measure how fast tensors are digested, beside a plain BLAKE3 hash of the same bytes.

use std::{hint::black_box, time::Instant};
use tessera_canon::{Domain, digest_bytes};
use tessera_dispute::tensor::{TensorTree, Values, digest};

fn main() {
    let numbers: Vec<f32> = (0..16 << 20).map(|i| i as f32).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let sums: Vec<i64> = (0..8 << 20).collect();
    let megabytes = bytes.len() as f64 / 1e6;
    let best = |run: &dyn Fn()| {
        let times = (0..5).map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        });
        megabytes / times.fold(f64::INFINITY, f64::min)
    };
    let domain = Domain::new("tessera/example/v1");
    let (square, wide) = ([4096, 4096], [4096, 2048]);
    let (numbers, sums) = (Values::Numbers(&numbers), Values::Sums(&sums));
    let show = |what: &str, speed: f64| println!("{what:18}{speed:6.0} MB/s");
    show("plain BLAKE3", best(&|| _ = black_box(digest_bytes(domain, &bytes))));
    show("digest of f32", best(&|| _ = black_box(digest(&square, numbers))));
    show("digest of i64", best(&|| _ = black_box(digest(&wide, sums))));
    show("tree for disputes", best(&|| _ = black_box(TensorTree::new(&square, numbers))));
}
