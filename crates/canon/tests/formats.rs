//! Check that specimens notice what they are for: a field moved, added or of another size, a tag renumbered.

#[path = "formats/mod.rs"]
mod formats;

use formats::Table;
use std::path::Path;
use tessera_canon::{Describe, Hash, MerklePath, PublicKey, Signature, choice, codec, record, tags};

tags! { enum Colour { 0 => Red, 1 => Green, 7 => Blue } }
record! { struct Plain { a: u64, b: u64, colour: Colour, maybe: Option<u16>, flag: bool } }
choice! { enum Either { 3 => Plain(Plain), 200 => Other(Other) } }
record! { struct Other { inner: Inner } }
record! { struct OtherInner { a: u8 } }
choice! { enum Inner { 0 => Deep(Deep), 5 => Deeper(OtherInner) } }
record! { struct Deep { to: PublicKey } }

fn table<T: codec::Read<Cfg = ()> + codec::Encode + Describe>() -> String {
    let mut table = Table::default();
    table.add::<T>("it");
    table.rows().0
}

#[test]
fn every_part_has_a_specimen() {
    let mut table = Table::default();
    table.choice::<Either>("Either");
    let formats = table.rows().0;
    let rows: Vec<&str> = formats.lines().collect();
    // The first, two more colours, no number, the flag down; of the other the first and one more inner choice.
    assert!(rows[0].starts_with("Either.3.Plain ") && rows[0].contains(" 5 x 22 "), "{formats}");
    assert!(rows[1].starts_with("Either.200.Other ") && rows[1].contains(" 2 x "), "{formats}");
    assert_eq!(rows.len(), 2);
}

#[test]
fn a_changed_format_changes_its_row() {
    mod moved {
        use super::Colour;
        tessera_canon::record! {
            pub(crate) struct Plain { b: u64, a: u64, colour: Colour, maybe: Option<u16>, flag: bool }
        }
    }
    mod wider {
        use super::Colour;
        tessera_canon::record! {
            pub(crate) struct Plain { a: u64, b: u128, colour: Colour, maybe: Option<u16>, flag: bool }
        }
    }
    mod renumbered {
        tessera_canon::tags! { pub(crate) enum Colour { 0 => Red, 1 => Green, 8 => Blue } }
        tessera_canon::record! {
            pub(crate) struct Plain { a: u64, b: u64, colour: Colour, maybe: Option<u16>, flag: bool }
        }
    }
    let now = table::<Plain>();
    assert_eq!(now, table::<Plain>());
    for other in [table::<moved::Plain>(), table::<wider::Plain>(), table::<renumbered::Plain>()] {
        assert_ne!(now, other);
    }
}

#[test]
fn the_formats_of_this_crate_have_not_changed() {
    let mut table = Table::default();
    table.add::<Hash>("Hash");
    table.add::<PublicKey>("PublicKey");
    table.add::<Signature>("Signature");
    table.add::<MerklePath>("MerklePath");
    table.check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
}
