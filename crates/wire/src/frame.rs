//! Put a message into a frame and take it out again, checking version, channel limit and encoding.

use bytes::{BufMut, Bytes, BytesMut};
use tessera_canon::{DecodeError, codec, decode};

/// Version of all message formats; a peer that speaks another is refused with both numbers.
pub const VERSION: u8 = 2;

/// Short messages of the training protocol.
pub const CONTROL: u8 = 0;
/// Messages that carry tensors or state.
pub const TENSORS: u8 = 1;
/// Requests to validators and their answers.
pub const RPC: u8 = 2;
/// Inference sessions.
pub const SERVING: u8 = 3;

/// Greatest frame on [`CONTROL`], bytes.
pub const MAX_CONTROL_FRAME: usize = 64 << 10;
/// Greatest frame on [`TENSORS`], bytes: one microbatch of activations or one chunk of state.
pub const MAX_TENSOR_FRAME: usize = 64 << 20;
/// Greatest frame on [`RPC`], bytes: one block with its transactions.
pub const MAX_RPC_FRAME: usize = 4 << 20;
/// Greatest frame on [`SERVING`], bytes: the hidden rows of one prefill chunk.
pub const MAX_SERVING_FRAME: usize = 8 << 20;

/// Greatest frame on a channel, bytes; zero for channels that do not exist.
pub const fn limit_of(channel: u8) -> usize {
    match channel {
        CONTROL => MAX_CONTROL_FRAME,
        TENSORS => MAX_TENSOR_FRAME,
        RPC => MAX_RPC_FRAME,
        SERVING => MAX_SERVING_FRAME,
        _ => 0,
    }
}

/// Why a frame was refused. All of these are the sender's fault.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("an empty frame arrived on channel {channel}")]
    Empty { channel: u8 },
    #[error(
        "the peer speaks message version {got}, this node speaks {VERSION}; one of the two must be upgraded"
    )]
    Version { got: u8 },
    #[error("a frame of {got} bytes arrived on channel {channel}, which allows {max}")]
    TooBig { channel: u8, got: usize, max: usize },
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Encode `message` behind the version byte.
pub fn to_frame<M: codec::Encode>(message: &M) -> Bytes {
    let mut frame = BytesMut::with_capacity(1 + message.encode_size());
    frame.put_u8(VERSION);
    message.write(&mut frame);
    frame.freeze()
}

/// Decode the message of a frame that arrived on `channel`.
pub fn from_frame<M: codec::Read<Cfg = ()>>(channel: u8, frame: &Bytes) -> Result<M, FrameError> {
    let max = limit_of(channel);
    match frame.first() {
        None => Err(FrameError::Empty { channel }),
        Some(_) if frame.len() > max => Err(FrameError::TooBig { channel, got: frame.len(), max }),
        Some(&VERSION) => Ok(decode(&frame[1..])?),
        Some(&got) => Err(FrameError::Version { got }),
    }
}
