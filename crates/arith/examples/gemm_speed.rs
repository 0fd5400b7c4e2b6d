//! Measure the matrix product on one thread, beside the crate `matrixmultiply` in the same run.
//!
//! Prints GFLOP/s (two per fused multiply-add), best and median of several calls, for each instruction set of
//! the machine; the oracle picks its own.

use std::time::{Duration, Instant};
use tessera_arith::{ArithError, Isa, Mat, MatMut, Store, gemm, with_isa};

fn measure(flops: f64, mut call: impl FnMut()) -> String {
    let mut rates = Vec::new();
    let begin = Instant::now();
    while rates.len() < 9 || begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        call();
        rates.push(flops / start.elapsed().as_secs_f64() / 1e9);
    }
    rates.sort_by(f64::total_cmp);
    format!("best {:6.1} median {:6.1}", rates[rates.len() - 1], rates[rates.len() / 2])
}

fn main() -> Result<(), ArithError> {
    for (m, n, k) in [
        (2048, 1376, 512),
        (512, 1376, 2048),
        (512, 512, 2048),
        (64, 256, 64),
        (4, 1376, 512),
        (1, 1376, 512),
    ] {
        let flops = 2.0 * (m * n * k) as f64;
        let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
        let mut c = vec![0.0f32; m * n];
        for isa in Isa::available().into_iter().filter(|isa| *isa != Isa::Portable || m * n * k < 10_000_000)
        {
            for layout in ["nn", "nt", "tn"] {
                let a = if layout == "tn" { Mat::new(&a, k, m)?.t() } else { Mat::new(&a, m, k)? };
                let b = if layout == "nt" { Mat::new(&b, n, k)?.t() } else { Mat::new(&b, k, n)? };
                let rate = with_isa(isa, || {
                    measure(flops, || {
                        gemm(MatMut::new(&mut c, m, n).expect("fits"), a, b, Store::Set).expect("fits");
                    })
                });
                println!("arith::gemm/m={m}/n={n}/k={k}/isa={isa:?}/layout={layout} GFLOP/s {rate}");
            }
        }
        let rate = measure(flops, || {
            // SAFETY: the slices hold the matrices.
            #[allow(unsafe_code)]
            unsafe {
                let (k_stride, n_stride) = (k as isize, n as isize);
                let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                matrixmultiply::sgemm(m, k, n, 1.0, a, k_stride, 1, b, n_stride, 1, 0.0, c, n_stride, 1);
            }
        });
        println!("matrixmultiply/m={m}/n={n}/k={k}/layout=nn GFLOP/s {rate}");
    }
    Ok(())
}
