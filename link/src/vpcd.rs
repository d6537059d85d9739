//! The vpcd protocol: what vsmartcard's virtual reader and the programs that play its cards say to each other.
//!
//! Every message is a big-endian 16-bit length and a body. The reader powers the card with bodies of one byte and asks
//! for its ATR with another; any longer body is a C-APDU. Only the ATR and APDUs are answered.
//! Nothing here does I/O: both sides, the reader that listens and the phone that connects, share these bytes.
//!
//! **Send length and body in one write**, and acknowledge at once what comes: Debian's vpcd sends them in two, and
//! Nagle's algorithm with a delayed acknowledgement then costs 44 ms an APDU.

/// Where vpcd listens for the card of its first slot; the second slot is at the next port.
pub const DEFAULT_PORT: u16 = 35963;
/// The longest body that the length can express.
pub const MAX_BODY: usize = 0xFFFF;
/// Body of the request to cut the card's power.
pub const POWER_OFF: u8 = 0x00;
/// Body of the request to power the card.
pub const POWER_ON: u8 = 0x01;
/// Body of the request to reset the card.
pub const RESET: u8 = 0x02;
/// Body of the request for the ATR, the only one of these that is answered.
pub const GET_ATR: u8 = 0x04;
/// The shortest ATR that PC/SC gives to a contactless card, and what most phones get.
pub const CONTACTLESS_ATR: [u8; 5] = [0x3B, 0x80, 0x80, 0x01, 0x01];

/// What the reader asks of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// A message without a body: to be ignored.
    Empty,
    /// Cut the power; not answered.
    PowerOff,
    /// Power on; not answered.
    PowerOn,
    /// Reset; not answered.
    Reset,
    /// Tell the ATR.
    GetAtr,
    /// One byte that means nothing: to be ignored.
    Unknown(u8),
    /// A C-APDU, answered by an R-APDU.
    Apdu(&'a [u8]),
}

impl<'a> Request<'a> {
    /// What `body` asks.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Self {
        match *body {
            [] => Self::Empty,
            [POWER_OFF] => Self::PowerOff,
            [POWER_ON] => Self::PowerOn,
            [RESET] => Self::Reset,
            [GET_ATR] => Self::GetAtr,
            [other] => Self::Unknown(other),
            _ => Self::Apdu(body),
        }
    }
}

/// Replaces the content of `out` by the whole message for `body`, to be sent in one write.
///
/// Says `false`, and leaves `out` empty, if `body` is longer than [`MAX_BODY`].
#[must_use]
pub fn encode(body: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let Ok(length) = u16::try_from(body.len()) else { return false };
    out.reserve(2 + body.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    true
}

/// Takes the bytes of a stream as they come and gives back whole messages. It allocates only when it is made.
#[derive(Clone)]
pub struct Frames {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl Frames {
    /// Room for the longest message.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffer: vec![0; 2 + MAX_BODY].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// Where to put the bytes that come next; follow with [`Frames::filled`].
    ///
    /// Empty only while a whole message waits for [`Frames::message`].
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.end + self.missing() > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// Says that `count` bytes were put into [`Frames::space`].
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// The body of the next message, if all of it is there.
    pub fn message(&mut self) -> Option<&[u8]> {
        if self.missing() > 0 {
            return None;
        }
        let body = self.start + 2;
        self.start = body + self.body_length()?;
        Some(&self.buffer[body..self.start])
    }

    /// Whether nothing is left: the stream stands between two messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How many bytes must come, at the least, before the next message is whole.
    #[must_use]
    pub fn missing(&self) -> usize {
        let have = self.end - self.start;
        match self.body_length() {
            Some(length) => (2 + length).saturating_sub(have),
            None => 2 - have,
        }
    }

    /// The length that the next message announces for its body, once it is there.
    #[must_use]
    pub fn body_length(&self) -> Option<usize> {
        match self.buffer[self.start..self.end] {
            [high, low, ..] => Some(usize::from(u16::from_be_bytes([high, low]))),
            _ => None,
        }
    }

    /// Forgets what has come.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}

// Without the bytes, which can be secret.
impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames")
            .field("waiting", &(self.end - self.start))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in pieces of the given sizes (repeated) and collects the messages.
    fn feed(stream: &[u8], pieces: &[usize]) -> Vec<Vec<u8>> {
        let mut frames = Frames::new();
        let (mut out, mut rest, mut piece) = (Vec::new(), stream, pieces.iter().cycle());
        while !rest.is_empty() {
            let space = frames.space();
            assert!(!space.is_empty());
            let n = space.len().min(rest.len()).min(*piece.next().unwrap());
            space[..n].copy_from_slice(&rest[..n]);
            frames.filled(n);
            rest = &rest[n..];
            while let Some(body) = frames.message() {
                out.push(body.to_vec());
            }
        }
        assert!(frames.is_empty());
        out
    }

    #[test]
    fn any_cut_gives_the_same_messages() {
        let bodies: Vec<Vec<u8>> = [0, 1, 2, 5, 0, 300, MAX_BODY, 1, MAX_BODY, MAX_BODY - 1, 7]
            .iter()
            .map(|&n| (0..n).map(|i| i as u8).collect())
            .collect();
        let mut stream = Vec::new();
        let mut message = Vec::new();
        for body in &bodies {
            assert!(encode(body, &mut message));
            stream.extend_from_slice(&message);
        }
        for pieces in [&[1][..], &[2, 1], &[3], &[1000, 1, 65_537], &[65_536], &[1 << 20]] {
            assert_eq!(feed(&stream, pieces), bodies, "{pieces:?}");
        }
    }

    #[test]
    fn what_is_missing() {
        let mut frames = Frames::new();
        assert_eq!((frames.missing(), frames.is_empty(), frames.body_length()), (2, true, None));
        frames.space()[0] = 1;
        frames.filled(1);
        assert_eq!((frames.missing(), frames.is_empty()), (1, false));
        frames.space()[0] = 2;
        frames.filled(1);
        assert_eq!((frames.missing(), frames.body_length()), (258, Some(258)));
        assert_eq!(frames.message(), None);
        frames.clear();
        assert!(frames.is_empty());
    }

    #[test]
    fn requests() {
        assert_eq!(Request::parse(&[]), Request::Empty);
        assert_eq!(Request::parse(&[0]), Request::PowerOff);
        assert_eq!(Request::parse(&[1]), Request::PowerOn);
        assert_eq!(Request::parse(&[2]), Request::Reset);
        assert_eq!(Request::parse(&[4]), Request::GetAtr);
        assert_eq!(Request::parse(&[3]), Request::Unknown(3));
        assert_eq!(Request::parse(&[0, 0xA4]), Request::Apdu(&[0, 0xA4]));
    }

    #[test]
    fn too_long_a_body_is_refused() {
        let mut out = vec![1];
        assert!(!encode(&vec![0; MAX_BODY + 1], &mut out));
        assert!(out.is_empty());
        assert!(encode(&vec![0; MAX_BODY], &mut out));
        assert_eq!(out.len(), MAX_BODY + 2);
    }
}
