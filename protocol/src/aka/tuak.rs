//! TS 35.231: TUAK, with every length of key, MAC, response and session key that it knows and any number of Keccak iterations.

use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU8;

use keccak::Keccak;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{Amf, Rand, Sqn};

/// The algorithm's name, as it stands in every input.
const NAME: [u8; 7] = *b"TUAK1.0";

/// The length of MAC-A and MAC-S.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MacLength {
    /// 64 bits.
    Bits64,
    /// 128 bits.
    Bits128,
    /// 256 bits.
    Bits256,
}

impl MacLength {
    /// The length in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bits64 => 8,
            Self::Bits128 => 16,
            Self::Bits256 => 32,
        }
    }

    /// The length of so many bytes, if it is allowed.
    #[must_use]
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            8 => Some(Self::Bits64),
            16 => Some(Self::Bits128),
            32 => Some(Self::Bits256),
            _ => None,
        }
    }

    const fn instance(self) -> u8 {
        match self {
            Self::Bits64 => 0x08,
            Self::Bits128 => 0x10,
            Self::Bits256 => 0x20,
        }
    }
}

/// The length of RES.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResLength {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
    /// 128 bits.
    Bits128,
    /// 256 bits.
    Bits256,
}

impl ResLength {
    /// The length in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
            Self::Bits128 => 16,
            Self::Bits256 => 32,
        }
    }

    /// The length of so many bytes, if it is allowed.
    #[must_use]
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            4 => Some(Self::Bits32),
            8 => Some(Self::Bits64),
            16 => Some(Self::Bits128),
            32 => Some(Self::Bits256),
            _ => None,
        }
    }

    const fn instance(self) -> u8 {
        match self {
            Self::Bits32 => 0x00,
            Self::Bits64 => 0x08,
            Self::Bits128 => 0x10,
            Self::Bits256 => 0x20,
        }
    }
}

/// The length of CK or IK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyLength {
    /// 128 bits.
    Bits128,
    /// 256 bits.
    Bits256,
}

impl KeyLength {
    /// The length in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits256 => 32,
        }
    }

    /// The length of so many bytes, if it is allowed.
    #[must_use]
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            16 => Some(Self::Bits128),
            32 => Some(Self::Bits256),
            _ => None,
        }
    }
}

/// The choices an operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// MAC-A and MAC-S.
    pub mac: MacLength,
    /// RES.
    pub res: ResLength,
    /// CK.
    pub ck: KeyLength,
    /// IK.
    pub ik: KeyLength,
    /// How often Keccak-f\[1600\] is applied.
    pub iterations: NonZeroU8,
}

impl Parameters {
    /// MAC and RES of 64 bits, CK and IK of 128, one iteration: those of docs/protocol.md section 5.
    pub const PROFILE: Self = Self {
        mac: MacLength::Bits64,
        res: ResLength::Bits64,
        ck: KeyLength::Bits128,
        ik: KeyLength::Bits128,
        iterations: NonZeroU8::MIN,
    };
}

impl Default for Parameters {
    fn default() -> Self {
        Self::PROFILE
    }
}

/// f1 to f5\* of one subscriber. Overwritten when dropped, never shown.
pub struct Tuak {
    key: Key,
    topc: Zeroizing<[u8; 32]>,
    parameters: Parameters,
}

/// What f2, f3, f4 and f5 give for one RAND. Overwritten when dropped, never shown.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Response {
    /// f2: the response to the challenge.
    pub res: Vec<u8>,
    /// f3: the cipher key.
    pub ck: Vec<u8>,
    /// f4: the integrity key.
    pub ik: Vec<u8>,
    /// f5: the anonymity key, which hides SQN in AUTN.
    pub ak: [u8; 6],
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Response(..)")
    }
}

impl Tuak {
    /// `None` unless K has 16 or 32 bytes.
    #[must_use]
    pub fn new(k: &[u8], topc: &[u8; 32], parameters: Parameters) -> Option<Self> {
        Some(Self {
            key: Key::new(k)?,
            topc: Zeroizing::new(*topc),
            parameters,
        })
    }

    /// The lengths and iterations in use.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// f1: MAC-A, by which the USIM knows its home.
    #[must_use]
    pub fn f1(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> Vec<u8> {
        self.mac(0x00, rand, sqn, amf)
    }

    /// f1\*: MAC-S, by which the home knows that the USIM asks for resynchronisation.
    #[must_use]
    pub fn f1_star(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> Vec<u8> {
        self.mac(0x80, rand, sqn, amf)
    }

    /// f2, f3, f4 and f5 in one go.
    #[must_use]
    pub fn f2345(&self, rand: &Rand) -> Response {
        let Parameters { res, ck, ik, .. } = self.parameters;
        let long = |length, bit| if length == KeyLength::Bits256 { bit } else { 0 };
        let instance = 0x40 | res.instance() | long(ck, 0x04) | long(ik, 0x02);
        let out = self.run(instance, Some(rand), None);
        Response {
            res: reversed(&out[..res.bytes()]).collect(),
            ck: reversed(&out[32..32 + ck.bytes()]).collect(),
            ik: reversed(&out[64..64 + ik.bytes()]).collect(),
            ak: anonymity_key(&out),
        }
    }

    /// f5\*: the anonymity key that hides SQN_MS in AUTS.
    #[must_use]
    pub fn f5_star(&self, rand: &Rand) -> [u8; 6] {
        anonymity_key(&self.run(0xC0, Some(rand), None))
    }

    fn mac(&self, star: u8, rand: &Rand, sqn: Sqn, amf: Amf) -> Vec<u8> {
        let mac = self.parameters.mac;
        let out = self.run(star | mac.instance(), Some(rand), Some((sqn, amf)));
        reversed(&out[..mac.bytes()]).collect()
    }

    fn run(&self, instance: u8, rand: Option<&Rand>, sqn_amf: Option<(Sqn, Amf)>) -> Zeroizing<[u8; 200]> {
        run(&self.key, &self.topc, self.parameters.iterations, instance, rand, sqn_amf)
    }
}

impl ZeroizeOnDrop for Tuak {}

impl fmt::Debug for Tuak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tuak(..)")
    }
}

/// TOPc out of the operator's TOP; `None` unless K has 16 or 32 bytes.
#[must_use]
pub fn topc_from_top(k: &[u8], top: &[u8; 32], iterations: NonZeroU8) -> Option<[u8; 32]> {
    let out = run(&Key::new(k)?, top, iterations, 0x00, None, None);
    let mut topc = [0; 32];
    place(&mut topc, &out[..32]);
    Some(topc)
}

/// Keccak-f\[1600\] on a state of 200 bytes, as TS 35.232 numbers them.
pub fn keccak_f1600(state: &mut [u8; 200]) {
    let mut lanes = Zeroizing::new([0u64; 25]);
    for (lane, bytes) in lanes.iter_mut().zip(state.as_chunks::<8>().0) {
        *lane = u64::from_le_bytes(*bytes);
    }
    Keccak::new().with_f1600(|f1600| f1600(&mut lanes));
    for (lane, bytes) in lanes.iter().zip(state.as_chunks_mut::<8>().0) {
        *bytes = lane.to_le_bytes();
    }
}

/// K, 128 or 256 bits.
struct Key {
    bytes: Zeroizing<[u8; 32]>,
    length: KeyLength,
}

impl Key {
    fn new(k: &[u8]) -> Option<Self> {
        let length = KeyLength::from_bytes(k.len())?;
        let mut bytes = Zeroizing::new([0; 32]);
        place(&mut bytes[..length.bytes()], k);
        Some(Self { bytes, length })
    }
}

/// INOUT: TOP or TOPc | INSTANCE | name | RAND | AMF | SQN | K, each last byte first, padded, and permuted.
fn run(
    key: &Key,
    top: &[u8; 32],
    iterations: NonZeroU8,
    instance: u8,
    rand: Option<&Rand>,
    sqn_amf: Option<(Sqn, Amf)>,
) -> Zeroizing<[u8; 200]> {
    let mut state = Zeroizing::new([0; 200]);
    place(&mut state[..32], top);
    state[32] = instance | u8::from(key.length == KeyLength::Bits256);
    place(&mut state[33..40], &NAME);
    if let Some(rand) = rand {
        place(&mut state[40..56], &rand.0);
    }
    if let Some((sqn, amf)) = sqn_amf {
        place(&mut state[56..58], &amf.0);
        place(&mut state[58..64], &sqn.to_bytes());
    }
    state[64..96].copy_from_slice(&key.bytes[..]);
    state[96] = 0x1F;
    state[135] = 0x80;
    for _ in 0..iterations.get() {
        keccak_f1600(&mut state);
    }
    state
}

fn reversed(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().rev().copied()
}

/// Writes `from` into `to`, last byte first.
fn place(to: &mut [u8], from: &[u8]) {
    to.iter_mut().zip(reversed(from)).for_each(|(to, from)| *to = from);
}

fn anonymity_key(out: &[u8; 200]) -> [u8; 6] {
    let mut ak = [0; 6];
    place(&mut ak, &out[96..102]);
    ak
}
