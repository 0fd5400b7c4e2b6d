//! What the wire quantisers promise: exact bytes, a bound on the error, one form, nothing written on an error.

use proptest::prelude::*;
use tessera_arith::{
    ArithError, Isa,
    quantise::{Format, decode, encode},
    with_isa,
};

fn bytes_of(format: Format, x: &[f32], width: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; format.bytes(x.len() / width, width).unwrap()];
    encode(format, x, width, &mut bytes).unwrap();
    bytes
}

fn values_of(format: Format, bytes: &[u8], rows: usize, width: usize) -> Vec<f32> {
    let mut x = vec![f32::NAN; rows * width];
    decode(format, bytes, width, &mut x).unwrap();
    x
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn bytes_are_those_of_the_specification() {
    for isa in Isa::available() {
        with_isa(isa, || {
            // 1, -2, a tie to even below (1 + 2^-8), a tie to even above (1 + 3 * 2^-8), the least subnormal, -0.
            let x = [1.0, -2.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::from_bits(1 << 16), -0.0];
            let expected = [0x80, 0x3f, 0x00, 0xc0, 0x80, 0x3f, 0x82, 0x3f, 0x01, 0x00, 0x00, 0x80];
            assert_eq!(bytes_of(Format::Bf16, &x, 6), expected);
            // Two rows: m = 127 needs e = 0, m = 127.5 needs e = 1; ties to even, zero is +0.
            let x = [127.0, -126.5, 0.5, 1.5, -0.0, 127.5, -127.0, 1.0, 3.0, 0.0];
            let expected = [127, 127, -126i8 as u8, 0, 2, 0, 128, 64, -64i8 as u8, 0, 2, 0];
            assert_eq!(bytes_of(Format::Int8, &x, 5), expected);
            assert_eq!(bytes_of(Format::Int4, &[7.0, -1.0, 2.5], 3), [127, 0xf7, 0x02]);
            assert_eq!(bytes_of(Format::Int4, &[7.1, -7.0, 0.9], 3), [128, 0xc4, 0x00]);
            let zeros = [0.0; 65];
            for format in Format::ALL {
                assert!(bytes_of(format, &zeros, 65).iter().all(|byte| *byte == 0));
            }
            // The second block of a row has a scale of its own.
            let mut x = [0.0; 65];
            (x[0], x[64]) = (127.0, 254.0);
            let bytes = bytes_of(Format::Int8, &x, 65);
            assert_eq!((bytes[0], bytes[1], bytes[65], bytes[66]), (127, 127, 128, 127));
        });
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let limits = [
        (Format::Bf16, f32::from_bits(0x7f7f_7fff)),
        (Format::Int8, 127.0 * 2f32.powi(121)),
        (Format::Int4, 7.0 * 2f32.powi(125)),
    ];
    for (format, largest) in limits {
        let bytes = bytes_of(format, &[1.0, -largest], 2);
        assert!(values_of(format, &bytes, 1, 2).iter().all(|x| x.is_finite()));
        let mut bytes = vec![0xaa; format.bytes(1, 2).unwrap()];
        let above = f32::from_bits(largest.to_bits() + 1);
        for (bad, finite) in
            [(above, true), (-f32::MAX, true), (f32::NAN, false), (f32::INFINITY, false), (-f32::NAN, false)]
        {
            let error = encode(format, &[1.0, bad], 2, &mut bytes).unwrap_err();
            match error {
                ArithError::Unrepresentable { index: 1, .. } => assert!(finite),
                ArithError::NonFinite { index: 1, .. } => assert!(!finite),
                other => panic!("{other}"),
            }
            assert!(bytes.iter().all(|byte| *byte == 0xaa));
        }
        assert!(matches!(encode(format, &[1.0; 3], 2, &mut bytes), Err(ArithError::Length { .. })));
        assert!(matches!(encode(format, &[1.0; 4], 2, &mut bytes), Err(ArithError::Length { .. })));
        assert!(matches!(encode(format, &[], 0, &mut []), Err(ArithError::Parameter { .. })));
        assert!(matches!(decode(format, &bytes, 2, &mut [0.0; 4]), Err(ArithError::Length { .. })));
        assert_eq!(format.bytes(usize::MAX, usize::MAX), None);
    }
}

#[test]
fn bytes_that_no_encoder_writes_are_refused() {
    let cases: [(Format, &[u8], usize, &str); 10] = [
        (Format::Bf16, &[0x80, 0x3f, 0x80, 0x7f], 2, "infinite"),
        (Format::Bf16, &[0x80, 0x3f, 0xc0, 0xff], 2, "infinite"),
        (Format::Int8, &[249, 127, 0], 2, "beyond the largest"),
        (Format::Int8, &[127, 127, 0x80], 2, "least integer"),
        (Format::Int8, &[127, 63, 0], 2, "larger scale"),
        (Format::Int8, &[127, 0, 0], 2, "larger scale"),
        (Format::Int4, &[253, 0x07], 2, "beyond the largest"),
        (Format::Int4, &[127, 0x87], 2, "least integer"),
        (Format::Int4, &[127, 0x33], 2, "larger scale"),
        (Format::Int4, &[127, 0x17], 1, "no value"),
    ];
    for (format, bytes, width, reason) in cases {
        let mut x = vec![9.0; width];
        let error = decode(format, bytes, width, &mut x).unwrap_err().to_string();
        assert!(error.contains(reason), "{format:?} {bytes:?}: {error}");
        assert!(x.iter().all(|x| *x == 9.0));
    }
    // The same scales with what they need are fine.
    assert_eq!(values_of(Format::Int8, &[127, 64, 0], 1, 2), [64.0, 0.0]);
    assert_eq!(values_of(Format::Int4, &[127, 0x04], 1, 2), [4.0, 0.0]);
}

/// Values over all exponents, or close together around `centre`.
fn inputs() -> impl Strategy<Value = Vec<f32>> {
    let anything = any::<u32>().prop_map(|bits| f32::from_bits(bits & 0xbfff_ffff | bits >> 2 & 0x3f80_0000));
    let finite = anything.prop_map(|x| if x.is_finite() { x } else { 1.0 });
    let near = (-140i32..120).prop_flat_map(|exponent| {
        prop::collection::vec((-1f64..1.0).prop_map(move |x| (x * 2f64.powi(exponent)) as f32), 1..300)
    });
    prop_oneof![prop::collection::vec(finite, 1..300), near]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The bound of the documentation, one form in bytes, and the same bytes and values on every instruction set.
    #[test]
    fn values_come_back_within_the_bound_and_encode_again_to_the_same_bytes(x in inputs(), rows in 1usize..4) {
        let width = (x.len() / rows).max(1);
        let rows = x.len() / width;
        let x = &x[..rows * width];
        for format in Format::ALL {
            let bytes = with_isa(Isa::Portable, || bytes_of(format, x, width));
            let back = with_isa(Isa::Portable, || values_of(format, &bytes, rows, width));
            for isa in Isa::available() {
                with_isa(isa, || {
                    prop_assert_eq!(&bytes, &bytes_of(format, x, width), "{:?} on {:?}", format, isa);
                    prop_assert_eq!(bits(&back), bits(&values_of(format, &bytes, rows, width)));
                    prop_assert_eq!(&bytes, &bytes_of(format, &back, width), "{:?} is not idempotent", format);
                    Ok(())
                })?;
            }
            for (x, back) in x.chunks(width).zip(back.chunks(width)) {
                for (x, back) in x.chunks(64).zip(back.chunks(64)) {
                    let largest = x.iter().fold(0.0, |m, x| x.abs().max(m));
                    for (x, back) in x.iter().zip(back) {
                        let bound = match format {
                            Format::Bf16 => (f64::from(x.abs()) / 256.0).max(2f64.powi(-134)),
                            Format::Int8 => (f64::from(largest) / 127.0).max(2f64.powi(-128)),
                            Format::Int4 => (f64::from(largest) / 7.0).max(2f64.powi(-128)),
                        };
                        let error = (f64::from(*x) - f64::from(*back)).abs();
                        prop_assert!(error <= bound, "{:?}: {:e} came back as {:e}", format, x, back);
                    }
                }
            }
        }
    }

    /// Whatever bytes arrive: they are refused, or they are what encoding their values gives.
    #[test]
    fn accepted_bytes_have_one_form(
        mut bytes in prop::collection::vec(any::<u8>(), 1..70), scale in 0u8..255, width in 1usize..130,
    ) {
        for format in Format::ALL {
            bytes[0] = scale;
            bytes.resize(format.row_bytes(width).unwrap(), 5);
            let mut x = vec![f32::NAN; width];
            match decode(format, &bytes, width, &mut x) {
                Ok(()) => prop_assert_eq!(&bytes, &bytes_of(format, &x, width), "{:?}", format),
                Err(_) => prop_assert!(x.iter().all(|x| x.is_nan()), "written on an error"),
            }
        }
    }
}
