//! Responses that are too long for one piece: the rest waits for GET RESPONSE (ISO/IEC 7816-4 11.5.1).

/// As much data goes into a part: 256 bytes in one piece are too many for some readers.
const PART: usize = 255;
/// GET RESPONSE.
const INS: u8 = 0xC0;

/// What is left of a response, status word included.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<u8>);

impl Parts {
    /// Cuts a response that is longer than `longest`: the first part stays, with 61xx, and the rest is kept.
    pub(super) fn cut(&mut self, response: &mut Vec<u8>, longest: usize) {
        if response.len() <= longest {
            return;
        }
        self.0 = std::mem::take(response);
        self.next(PART.min(longest.saturating_sub(2)), response);
    }

    /// Answers GET RESPONSE while something is left; any other command gives it up, and is not answered here.
    pub(super) fn answer(&mut self, command: &[u8], response: &mut Vec<u8>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let most = match command {
            [0x00 | 0x80, INS, 0x00, 0x00] | [0x00 | 0x80, INS, 0x00, 0x00, 0x00] => PART,
            [0x00 | 0x80, INS, 0x00, 0x00, le] => usize::from(*le),
            _ => {
                self.0.clear();
                return false;
            }
        };
        self.next(most, response);
        true
    }

    fn next(&mut self, most: usize, response: &mut Vec<u8>) {
        let data = self.0.len().saturating_sub(2);
        response.extend(self.0.drain(..most.min(data)));
        match self.0.len().saturating_sub(2) {
            0 => response.append(&mut self.0),
            left => response.extend_from_slice(&[0x61, u8::try_from(left).unwrap_or(0xFF)]),
        }
    }
}
