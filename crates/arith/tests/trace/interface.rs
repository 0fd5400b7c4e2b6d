//! Refuse bad arguments with an error that names them, and use what the caller has computed already.

use crate::cases::{Mood, Random};
use tessera_arith::{
    ArithError, Mat, MatMut, Store, elementwise, gemm, optim,
    quantise::Format,
    reduce,
    trace::{Arithmetic, At, Data, Operation, Source, Tracer},
};

fn refused(operation: Operation, inputs: &[(&'static str, Data)]) -> String {
    match Tracer::new(operation, inputs, Arithmetic::Native) {
        Ok(tracer) => panic!("{} was accepted", tracer.operation().name()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let x = [1.0f32; 6];
    let x = Data::Numbers(&x);
    assert_eq!(
        refused(Operation::Dot { len: 6 }, &[("x", x)]),
        "dot: y holds 0 values, but 6 are needed; check the shapes passed in"
    );
    assert!(refused(Operation::Sum { len: 7 }, &[("x", x)]).contains("7 are needed"));
    // The wrong kind of values.
    assert!(refused(Operation::Sum { len: 1 }, &[("x", Data::Indices(&[1]))]).contains("x holds 0 values"));
    // Sizes whose product is too large for anything.
    let huge = Operation::RmsForward { rows: usize::MAX, d: 2, epsilon: 0.0 };
    assert!(refused(huge, &[("x", x), ("gain", x)]).contains("rms_forward: x"));
    let huge = Operation::Gemm {
        m: usize::MAX,
        n: usize::MAX,
        k: usize::MAX,
        a: [usize::MAX, usize::MAX],
        b: [0, 0],
        c_row: 0,
        store: Store::Add,
    };
    assert!(refused(huge, &[]).contains("gemm: a"));
    assert!(refused(Operation::Gather { vocab: 3, d: 0, tokens: 0 }, &[]).contains("width is 0"));
    let table = [("table", x), ("token", Data::Indices(&[2]))];
    assert!(refused(Operation::Gather { vocab: 2, d: 3, tokens: 1 }, &table).contains("token is 2"));
    assert!(
        refused(Operation::Dequantise { len: 0, exponent: 128, scale: 1.0 }, &[]).contains("exponent is 128")
    );
    let deep = Operation::NewtonSchulz { rows: 1, cols: 1, steps: 65 };
    assert!(refused(deep, &[("m", Data::Numbers(&[1.0]))]).contains("steps is 65"));
    let odd = Operation::Rope { rows: 1, heads: 1, head_dim: 3, positions: 1, back: false };
    assert!(refused(odd, &[]).contains("head_dim is 3"));
    let wire = Operation::Decode { format: Format::Int4, rows: 2, width: 3 };
    assert!(refused(wire, &[("bytes", Data::Bytes(&[0; 5]))]).contains("bytes holds 5 values, but 6"));
    let huge = Operation::Encode { format: Format::Int8, rows: 2, width: usize::MAX };
    assert!(refused(huge, &[("x", x)]).contains("quantise encode: x"));
    let none = Operation::Encode { format: Format::Bf16, rows: 0, width: 0 };
    assert!(refused(none, &[("x", Data::Numbers(&[]))]).contains("width is 0"));
    let decode = Operation::AttentionDecode { heads: 3, kv_heads: 2, head_dim: 1, keys: 1 };
    assert!(refused(decode, &[]).contains("kv_heads is 2"));
}

#[test]
fn a_blank_tracer_needs_indices_only() {
    assert!(Tracer::blank(Operation::Sum { len: 1 << 40 }, &[]).is_ok());
    let scatter = Operation::ScatterAdd { vocab: 2, d: 3, tokens: 1 };
    assert!(Tracer::blank(scatter.clone(), &[("token", Data::Indices(&[1]))]).is_ok());
    assert!(Tracer::blank(scatter.clone(), &[("token", Data::Indices(&[2]))]).is_err());
    assert!(Tracer::blank(scatter, &[]).is_err());
    let huge =
        Operation::Gemm { m: 1 << 40, n: 1 << 40, k: 1, a: [1, 1], b: [1, 1], c_row: 1, store: Store::Set };
    let error = Tracer::blank(huge, &[]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("numbers of elements that can be counted"), "{error}");
}

/// The deepest evaluation there is fits a thread's stack.
#[test]
fn sixty_four_newton_schulz_steps_are_traced() {
    let m = [0.5f32, -0.25, 0.125, 1.0];
    let mut out = m;
    optim::newton_schulz(&mut out, 2, 2, 64).unwrap();
    let operation = Operation::NewtonSchulz { rows: 2, cols: 2, steps: 64 };
    let tracer = Tracer::new(operation, &[("m", Data::Numbers(&m))], Arithmetic::Native).unwrap();
    let traced = std::thread::scope(|scope| {
        let small = std::thread::Builder::new().stack_size(1 << 20);
        let tracing = move || tracer.value(At { tensor: "out", index: 3 }).unwrap();
        small.spawn_scoped(scope, tracing).unwrap().join().unwrap()
    });
    assert_eq!(traced, u64::from(out[3].to_bits()));
}

#[test]
fn elements_that_do_not_exist_are_refused() {
    let x = [1.0f32, 2.0];
    let inputs = [("x", Data::Numbers(&x))];
    let tracer = Tracer::new(Operation::Exp { len: 2 }, &inputs, Arithmetic::Native).unwrap();
    assert!(tracer.trace(At { tensor: "out", index: 1 }).is_ok());
    for at in [At { tensor: "out", index: 2 }, At { tensor: "x", index: 0 }, At { tensor: "lane", index: 0 }]
    {
        assert!(matches!(tracer.trace(at), Err(ArithError::Parameter { operation: "exp", .. })), "{at:?}");
        assert!(tracer.value(at).is_err());
    }
}

#[test]
fn walking_beyond_the_end_gives_nothing() {
    let x = [1.0f32; 40];
    let inputs = [("x", Data::Numbers(&x))];
    let tracer = Tracer::new(Operation::Sum { len: 40 }, &inputs, Arithmetic::Native).unwrap();
    let lane = tracer.trace(At { tensor: "lane", index: 9 }).unwrap();
    assert_eq!((lane.len(), lane.is_empty(), lane.is_chain()), (2, false, true));
    assert_eq!((lane.prefix(0), lane.prefix(2), lane.prefix(3)), (Some(0), Some(0x4000_0000), None));
    assert!(lane.step(1).is_some() && lane.step(2).is_none());
    assert!(lane.claim(2, 0, 0).is_none());
    assert_eq!(lane.accumulators(0, 100, 100), [(1, 0x3f80_0000), (2, 0x4000_0000)]);
    assert_eq!(lane.accumulators(2, 1, 5), [(2, 0x4000_0000)]);
    assert_eq!(lane.accumulators(0, 0, 5), [(0, 0)]);
    let out = tracer.trace(At { tensor: "out", index: 0 }).unwrap();
    assert_eq!((out.len(), out.is_chain(), out.prefix(0)), (15, false, None));
    assert!(out.claim(0, 0, 0).is_none());
}

/// Values on the way that the caller kept are used; here the matrices of a Newton-Schulz step too large to be
/// computed element by element, with products of more than one block.
#[test]
fn supplied_values_are_used() {
    let (rows, cols) = (300, 260);
    let m = Random(5).numbers(Mood::Ordinary, rows * cols);
    let mut out = m.clone();
    optim::newton_schulz(&mut out, rows, cols, 1).unwrap();

    let mut x = m.clone();
    elementwise::scale(&mut x, 1.0 / (reduce::sum_squares(&m).sqrt() + 1e-7));
    let side = rows.min(cols);
    let (mut gram, mut square) = (vec![0.0; side * side], vec![0.0; side * side]);
    let (a, b, c) = (3.4445f32, -4.7750f32, 2.0315f32);
    let view = Mat::new(&x, rows, cols).unwrap();
    gemm(MatMut::new(&mut gram, side, side).unwrap(), view.t(), view, Store::Set).unwrap();
    let view = Mat::new(&gram, side, side).unwrap();
    gemm(MatMut::new(&mut square, side, side).unwrap(), view, view, Store::Set).unwrap();
    let polynomial: Vec<f32> = square.iter().zip(&gram).map(|(s, g)| c.mul_add(*s, b * g)).collect();
    let mut product = vec![0.0; rows * cols];
    let (left, right) = (Mat::new(&x, rows, cols).unwrap(), Mat::new(&polynomial, side, side).unwrap());
    gemm(MatMut::new(&mut product, rows, cols).unwrap(), left, right, Store::Set).unwrap();
    let next: Vec<f32> = x.iter().zip(&product).map(|(x, p)| a.mul_add(*x, *p)).collect();
    let both = [x.as_slice(), next.as_slice()];

    let operation = Operation::NewtonSchulz { rows, cols, steps: 1 };
    let mut tracer = Tracer::new(operation, &[("m", Data::Numbers(&m))], Arithmetic::Native).unwrap();
    for (tensor, values) in
        [("gram", &gram), ("square", &square), ("polynomial", &polynomial), ("product", &product)]
    {
        tracer.supply(tensor, Data::Numbers(values)).unwrap();
    }
    tracer.supply("x", Data::Parts(&both)).unwrap();
    // Each matrix follows from those before it, and the output from all.
    let bits = |values: &[f32], index: usize| u64::from(values[index].to_bits());
    for index in [0, 1, 4_000, side * side - 1] {
        for (tensor, values) in
            [("x", &x), ("gram", &gram), ("square", &square), ("product", &product), ("out", &out)]
        {
            assert_eq!(tracer.value(At { tensor, index }), Ok(bits(values, index)), "{tensor}[{index}]");
        }
        assert_eq!(tracer.value(At { tensor: "polynomial", index }), Ok(bits(&polynomial, index)));
        let trace = tracer.trace(At { tensor: "product", index }).unwrap();
        assert_eq!(trace.len(), 1, "two blocks");
        assert!(trace.steps().all(|step| step.judge()));
    }
    let block = tracer.trace(At { tensor: "product block", index: 1 }).unwrap();
    assert_eq!(block.len(), 4);
    assert!(matches!(
        block.step(0).unwrap().operands[1].source,
        Source::Inner(At { tensor: "polynomial", .. })
    ));
    drop(block);
    assert!(tracer.supply("m", Data::Numbers(&m)).is_err(), "inputs are given once");
    assert!(tracer.supply("gram", Data::Numbers(&m)).is_err(), "wrong size");
}
