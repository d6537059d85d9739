//! Response APDUs (ISO/IEC 7816-3 12.1, ISO/IEC 7816-4 5.1.3).

use alloc::vec::Vec;

use super::ApduError;
use crate::status::StatusWord;

/// A response APDU, its data borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// Data field; may be empty.
    pub data: &'a [u8],
    /// SW1 and SW2.
    pub sw: StatusWord,
}

impl<'a> Response<'a> {
    /// Reads a response APDU: the last two bytes are the status word, all before them is data.
    ///
    /// # Errors
    /// [`ApduError::ResponseTooShort`] when there are fewer than 2 bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ApduError> {
        let Some((data, &[sw1, sw2])) = bytes.split_last_chunk() else {
            return Err(ApduError::ResponseTooShort { length: bytes.len() });
        };
        let sw = StatusWord::from_bytes(sw1, sw2);
        Ok(Self { data, sw })
    }

    /// The bytes of the response: data, SW1, SW2.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [self.data, &self.sw.to_bytes()].concat()
    }
}

impl From<StatusWord> for Response<'_> {
    /// A response without data.
    fn from(sw: StatusWord) -> Self {
        Self { data: &[], sw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_then_status_word() {
        let response = Response::parse(&[1, 2, 0x6A, 0x82]).unwrap();
        assert_eq!((response.data, response.sw.0), (&[1, 2][..], 0x6A82));
        assert_eq!(response.encode(), [1, 2, 0x6A, 0x82]);
        let bare = Response::parse(&[0x90, 0x00]).unwrap();
        assert_eq!(bare, StatusWord::OK.into());
        for bytes in [&[][..], &[0x90]] {
            let length = bytes.len();
            assert_eq!(Response::parse(bytes), Err(ApduError::ResponseTooShort { length }));
        }
    }
}
