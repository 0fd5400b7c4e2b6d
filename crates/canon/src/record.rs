//! Encode and decode whole structs, and declare them with [`record!`] and [`choice!`].

use crate::codec::{Decode, Encode, Read};
use bytes::Bytes;

/// Why bytes were refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode {what} from {got} bytes: {cause}")]
pub struct DecodeError {
    /// Name of the type that was expected.
    pub what: &'static str,
    /// Length of the input.
    pub got: usize,
    /// The codec's own reason.
    pub cause: crate::codec::Error,
}

/// The canonical encoding of `value`.
pub fn encode<T: Encode>(value: &T) -> Bytes {
    value.encode()
}

/// Decode exactly one `T`; trailing bytes are an error.
pub fn decode<T: Read<Cfg = ()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::decode_cfg(Bytes::copy_from_slice(bytes), &()).map_err(|cause| DecodeError {
        what: std::any::type_name::<T>(),
        got: bytes.len(),
        cause,
    })
}

/// Declare a struct and its canonical codec: the fields in order, nothing else.
///
/// Every field type must have the codec configuration `()`: integers, arrays, [`Hash`](crate::Hash),
/// [`List`](crate::List), [`Blob`](crate::Blob), [`Text`](crate::Text), `Option`s and other records.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $fvis:vis $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name { $($(#[$fmeta])* $fvis $field: $ty),* }
        impl $crate::codec::Write for $name {
            #[allow(unused_variables)]
            fn write(&self, buf: &mut impl $crate::bytes::BufMut) {
                $($crate::codec::Write::write(&self.$field, buf);)*
            }
        }
        impl $crate::codec::EncodeSize for $name {
            fn encode_size(&self) -> usize {
                0 $(+ $crate::codec::EncodeSize::encode_size(&self.$field))*
            }
        }
        impl $crate::codec::Read for $name {
            type Cfg = ();
            #[allow(unused_variables)]
            fn read_cfg(buf: &mut impl $crate::codec::Buf, _: &()) -> Result<Self, $crate::codec::Error> {
                Ok(Self { $($field: <$ty as $crate::codec::Read>::read_cfg(buf, &Default::default())?),* })
            }
        }
        impl $crate::Describe for $name {
            fn describe(&self) -> $crate::Described {
                #[allow(unused_imports)]
                use $crate::describe::AsBytes as _;
                $crate::Described::Record(vec![
                    $((stringify!($field), $crate::describe::Look(&self.$field).described())),*
                ])
            }
        }
    };
}

/// Declare an enum of records and its canonical codec: one tag byte, then the record.
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $tag:literal => $variant:ident($ty:ty)),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis enum $name { $($(#[$vmeta])* $variant($ty)),* }
        impl $name {
            /// Name of the variant, for errors, logs and counters.
            #[allow(dead_code)] // a choice that is used in one place need not be named there
            $vis fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant)),* }
            }
        }
        impl $crate::codec::Write for $name {
            fn write(&self, buf: &mut impl $crate::bytes::BufMut) {
                match self { $(Self::$variant(inner) => {
                    $crate::codec::Write::write(&($tag as u8), buf);
                    $crate::codec::Write::write(inner, buf);
                })* }
            }
        }
        impl $crate::codec::EncodeSize for $name {
            fn encode_size(&self) -> usize {
                match self { $(Self::$variant(inner) => 1 + $crate::codec::EncodeSize::encode_size(inner)),* }
            }
        }
        impl $crate::codec::Read for $name {
            type Cfg = ();
            fn read_cfg(buf: &mut impl $crate::codec::Buf, _: &()) -> Result<Self, $crate::codec::Error> {
                match <u8 as $crate::codec::Read>::read_cfg(buf, &())? {
                    $($tag => Ok(Self::$variant(<$ty as $crate::codec::Read>::read_cfg(buf, &Default::default())?)),)*
                    other => Err($crate::codec::Error::InvalidEnum(other)),
                }
            }
        }
        impl $crate::Describe for $name {
            fn describe(&self) -> $crate::Described {
                #[allow(unused_imports)]
                use $crate::describe::AsBytes as _;
                match self { $(Self::$variant(inner) => $crate::Described::Choice(
                    stringify!($variant),
                    Box::new($crate::describe::Look(inner).described()),
                )),* }
            }
        }
        $(impl From<$ty> for $name { fn from(inner: $ty) -> Self { Self::$variant(inner) } })*
    };
}
