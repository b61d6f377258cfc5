//! The codec of every method: prost, with buffers of the size that messages have here.
//!
//! tonic's own takes 8 KiB for each message of each direction, which a waiting stream keeps and a
//! short call allocates and frees.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// What is allocated for the messages of one direction of a call at first, in bytes; it grows with
/// them. Most messages are smaller.
const BUFFER_BYTES: usize = 1024;
/// How many bytes of messages of a stream are gathered before they are handed on.
const GATHERED_BYTES: usize = 32 * 1024;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, GATHERED_BYTES)
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffers())
    }
}
