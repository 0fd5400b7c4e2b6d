//! Look at any record field by field, so that tools can show, index and export what they have no code for.
//!
//! [`record!`](crate::record!) and [`choice!`](crate::choice!) implement [`Describe`] for every type they
//! declare: names come from the declaration, so a new record or event shows up wherever records are shown. A
//! field whose type does not implement it is given as its canonical bytes.
//!
//! As JSON (serde): integers of up to 32 bits are numbers, larger ones strings of all their digits, because a
//! reader that holds numbers as doubles would round them; hashes, keys and bytes are hexadecimal text; a choice
//! is its record with a first field `kind`. This is a view for people and programs, not an encoding: what is
//! hashed and signed are the canonical bytes.
//!
//! ```
//! use tessera_canon::{Describe as _, Described, Hash, record};
//! record! { pub struct Sale { pub run: Hash, pub cu: u64, pub seat: Option<u16> } }
//! let shown = Sale { run: Hash::ZERO, cu: 7, seat: None }.describe();
//! let Described::Record(fields) = &shown else { panic!("a record is a record") };
//! assert_eq!(fields[1], ("cu", Described::Large(7)));
//! assert_eq!(shown.hashes(), vec![Hash::ZERO]);
//! ```

use crate::{Blob, Hash, List, PublicKey, Signature, Text, codec::Encode};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// A value as a tree of named parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Described {
    /// An absent option.
    None,
    Bool(bool),
    /// An integer of at most 32 bits.
    Small(u32),
    /// A longer integer.
    Large(u128),
    Text(String),
    Hash(Hash),
    Key(PublicKey),
    Bytes(Vec<u8>),
    List(Vec<Described>),
    /// The fields of a record, in order.
    Record(Vec<(&'static str, Described)>),
    /// One variant of a choice, with its name.
    Choice(&'static str, Box<Described>),
}

impl Described {
    /// The field `name` of a record or of a choice's record.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Record(fields) => fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value),
            Self::Choice(_, inner) => inner.field(name),
            _ => None,
        }
    }
    /// Every hash and key inside, keys as the hash of the same bytes, in order, repetitions included.
    pub fn hashes(&self) -> Vec<Hash> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }
    fn collect(&self, found: &mut Vec<Hash>) {
        match self {
            Self::Hash(hash) => found.push(*hash),
            Self::Key(key) => found.push(Hash(key.0)),
            Self::List(items) => items.iter().for_each(|item| item.collect(found)),
            Self::Record(fields) => fields.iter().for_each(|(_, value)| value.collect(found)),
            Self::Choice(_, inner) => inner.collect(found),
            _ => {}
        }
    }
}

/// `bytes` as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal `text` stands for; `None` where it is no such text.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

impl Serialize for Described {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Small(value) => serializer.serialize_u32(*value),
            Self::Large(value) => serializer.collect_str(value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Hash(hash) => serializer.collect_str(hash),
            Self::Key(key) => serializer.collect_str(key),
            Self::Bytes(bytes) => serializer.serialize_str(&hex(bytes)),
            Self::List(items) => serializer.collect_seq(items),
            Self::Record(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
            Self::Choice(kind, inner) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("kind", kind)?;
                match &**inner {
                    Self::Record(fields) => {
                        for (name, value) in fields {
                            map.serialize_entry(name, value)?;
                        }
                    }
                    other => map.serialize_entry("value", other)?,
                }
                map.end()
            }
        }
    }
}

/// A value that can be looked at field by field.
pub trait Describe {
    /// The tree of its parts.
    fn describe(&self) -> Described;
}

macro_rules! leaves {
    ($($ty:ty: $value:ident => $leaf:expr;)*) => {
        $(impl Describe for $ty {
            fn describe(&self) -> Described {
                let $value = self;
                $leaf
            }
        })*
    };
}
leaves! {
    bool: value => Described::Bool(*value);
    u8: value => Described::Small(u32::from(*value));
    u16: value => Described::Small(u32::from(*value));
    u32: value => Described::Small(*value);
    u64: value => Described::Large(u128::from(*value));
    u128: value => Described::Large(*value);
    Hash: value => Described::Hash(*value);
    PublicKey: value => Described::Key(*value);
    Signature: value => Described::Bytes(value.0.to_vec());
}
impl<const N: usize> Describe for [u8; N] {
    fn describe(&self) -> Described {
        Described::Bytes(self.to_vec())
    }
}
impl<const MAX: usize> Describe for Blob<MAX> {
    fn describe(&self) -> Described {
        Described::Bytes(self.to_vec())
    }
}
impl<const MAX: usize> Describe for Text<MAX> {
    fn describe(&self) -> Described {
        Described::Text(self.to_string())
    }
}
impl<T: Describe, const MAX: usize> Describe for List<T, MAX> {
    fn describe(&self) -> Described {
        Described::List(self.iter().map(Describe::describe).collect())
    }
}
impl<T: Describe> Describe for Option<T> {
    fn describe(&self) -> Described {
        self.as_ref().map_or(Described::None, Describe::describe)
    }
}

/// What the macros call for each field: its own description where its type has one, else its bytes.
///
/// An inherent method is found before one of a trait, so [`AsBytes`] is chosen only where the first does not
/// apply. This works because the macros know the field's type.
#[doc(hidden)]
pub struct Look<'a, T>(pub &'a T);
impl<T: Describe> Look<'_, T> {
    #[doc(hidden)]
    pub fn described(&self) -> Described {
        self.0.describe()
    }
}
#[doc(hidden)]
pub trait AsBytes {
    fn described(&self) -> Described;
}
impl<T: Encode> AsBytes for Look<'_, T> {
    fn described(&self) -> Described {
        Described::Bytes(self.0.encode().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SecretKey, choice, record};

    record! {
        struct Paid { to: PublicKey, run: Hash, amount: u128, cu: u64, seat: Option<u16>, parts: List<u32, 4> }
    }
    /// A type that knows nothing of descriptions.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Foreign(u16);
    impl crate::codec::Write for Foreign {
        fn write(&self, buf: &mut impl bytes::BufMut) {
            crate::codec::Write::write(&self.0, buf);
        }
    }
    impl crate::codec::FixedSize for Foreign {
        const SIZE: usize = 2;
    }
    impl crate::codec::Read for Foreign {
        type Cfg = ();
        fn read_cfg(buf: &mut impl crate::codec::Buf, cfg: &()) -> Result<Self, crate::codec::Error> {
            Ok(Self(u16::read_cfg(buf, cfg)?))
        }
    }
    record! { struct Odd { what: Foreign, when: bool } }
    choice! { enum Either { 0 => Paid(Paid), 1 => Odd(Odd) } }

    #[test]
    fn names_kinds_and_exact_integers_come_from_the_declaration() {
        let to = SecretKey::from_seed([1; 32]).public();
        let paid = Paid {
            to,
            run: Hash([2; 32]),
            amount: u128::MAX,
            cu: u64::MAX,
            seat: None,
            parts: List::new(vec![1, 2]).unwrap(),
        };
        let shown = Either::from(paid).describe();
        assert_eq!(shown.field("amount"), Some(&Described::Large(u128::MAX)));
        assert_eq!(shown.hashes(), [Hash(to.0), Hash([2; 32])]);
        let Described::Choice("Paid", inner) = shown else { panic!("the variant's name") };
        let Described::Record(fields) = *inner else { panic!("the record's fields") };
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["to", "run", "amount", "cu", "seat", "parts"]);
    }

    #[test]
    fn a_field_of_a_foreign_type_is_its_bytes() {
        let shown = Either::from(Odd { what: Foreign(0x0a0b), when: true }).describe();
        assert_eq!(shown.field("what"), Some(&Described::Bytes(vec![0x0a, 0x0b])));
        assert_eq!(shown.field("when"), Some(&Described::Bool(true)));
        assert_eq!(unhex(&hex(&[0, 171])), Some(vec![0, 171]));
        assert_eq!((unhex("0"), unhex("0g"), unhex("+1")), (None, None, None));
    }
}
