//! Declare enums without data by [`tags!`], so that each code is written down once.

/// Declare an enum without data and its one-byte codec.
#[macro_export]
macro_rules! tags {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $tag:literal => $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        $vis enum $name { $($(#[$vmeta])* $variant),* }
        impl $crate::codec::Write for $name {
            fn write(&self, buf: &mut impl $crate::bytes::BufMut) {
                let tag: u8 = match self { $(Self::$variant => $tag),* };
                $crate::codec::Write::write(&tag, buf);
            }
        }
        impl $crate::codec::FixedSize for $name {
            const SIZE: usize = 1;
        }
        impl $crate::codec::Read for $name {
            type Cfg = ();
            fn read_cfg(buf: &mut impl $crate::codec::Buf, _: &()) -> Result<Self, $crate::codec::Error> {
                match <u8 as $crate::codec::Read>::read_cfg(buf, &())? {
                    $($tag => Ok(Self::$variant),)*
                    other => Err($crate::codec::Error::InvalidEnum(other)),
                }
            }
        }
        impl $crate::Describe for $name {
            fn describe(&self) -> $crate::Described {
                $crate::Described::Text(match self { $(Self::$variant => stringify!($variant)),* }.into())
            }
        }
    };
}
