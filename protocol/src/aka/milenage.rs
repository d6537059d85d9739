//! TS 35.206: MILENAGE, with the rotations and constants of its section 4.1; TS 33.102 6.8.1.2 and TS 55.205: GSM triplets out of it.

use core::fmt;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Amf, Rand, Sqn};

/// f1 to f5\* of one subscriber: K, expanded once, and OPc. Overwritten when dropped, never shown.
pub struct Milenage {
    cipher: Aes128Enc,
    opc: Zeroizing<[u8; 16]>,
}

/// What f2, f3, f4 and f5 give for one RAND. Overwritten when dropped, never shown.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Response {
    /// f2: the response to the challenge.
    pub res: [u8; 8],
    /// f3: the cipher key.
    pub ck: [u8; 16],
    /// f4: the integrity key.
    pub ik: [u8; 16],
    /// f5: the anonymity key, which hides SQN in AUTN.
    pub ak: [u8; 6],
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Response(..)")
    }
}

impl Milenage {
    /// Expands K.
    #[must_use]
    pub fn new(k: &[u8; 16], opc: &[u8; 16]) -> Self {
        Self {
            cipher: Aes128Enc::new(k.into()),
            opc: Zeroizing::new(*opc),
        }
    }

    /// f1: MAC-A, by which the USIM knows its home.
    #[must_use]
    pub fn f1(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> [u8; 8] {
        let [mac_a, _] = self.macs(rand, sqn, amf);
        mac_a
    }

    /// f1\*: MAC-S, by which the home knows that the USIM asks for resynchronisation.
    #[must_use]
    pub fn f1_star(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> [u8; 8] {
        let [_, mac_s] = self.macs(rand, sqn, amf);
        mac_s
    }

    /// f2, f3, f4 and f5 in one go.
    #[must_use]
    pub fn f2345(&self, rand: &Rand) -> Response {
        let base = Zeroizing::new(self.temp(rand) ^ self.opc());
        let mut out: [Block; 3] = [(0, 1), (32, 2), (64, 4)].map(|(r, c)| block(base.rotate_left(r) ^ c));
        self.cipher.encrypt_blocks(&mut out);
        let [out2, out3, out4] = out.map(|b| (number(b) ^ self.opc()).to_be_bytes());
        out.iter_mut().for_each(|b| b.as_mut_slice().zeroize());
        let [a0, a1, a2, a3, a4, a5, _, _, res @ ..] = out2;
        Response {
            res,
            ck: out3,
            ik: out4,
            ak: [a0, a1, a2, a3, a4, a5],
        }
    }

    /// f5\*: the anonymity key that hides SQN_MS in AUTS.
    #[must_use]
    pub fn f5_star(&self, rand: &Rand) -> [u8; 6] {
        let base = self.temp(rand) ^ self.opc();
        let out5 = self.encrypt(base.rotate_left(96) ^ 8) ^ self.opc();
        let [a, b, c, d, e, f, ..] = out5.to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// OUT1: f1 and f1\*.
    fn macs(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> [[u8; 8]; 2] {
        let [a, b, c, d, e, f] = sqn.to_bytes();
        let [g, h] = amf.0;
        let half = u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let in1 = half << 64 | half;
        let out1 = self.encrypt(self.temp(rand) ^ (in1 ^ self.opc()).rotate_left(64)) ^ self.opc();
        [((out1 >> 64) as u64).to_be_bytes(), (out1 as u64).to_be_bytes()]
    }

    fn temp(&self, rand: &Rand) -> u128 {
        self.encrypt(u128::from_be_bytes(rand.0) ^ self.opc())
    }

    fn opc(&self) -> u128 {
        u128::from_be_bytes(*self.opc)
    }

    fn encrypt(&self, input: u128) -> u128 {
        let mut block = block(input);
        self.cipher.encrypt_block(&mut block);
        number(block)
    }
}

impl ZeroizeOnDrop for Milenage {}

impl fmt::Debug for Milenage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Milenage(..)")
    }
}

fn block(number: u128) -> Block {
    number.to_be_bytes().into()
}

fn number(block: Block) -> u128 {
    u128::from_be_bytes(block.into())
}

/// OPc = E_K(OP) xor OP.
#[must_use]
pub fn opc_from_op(k: &[u8; 16], op: &[u8; 16]) -> [u8; 16] {
    let mut opc = Block::from(*op);
    Aes128Enc::new(k.into()).encrypt_block(&mut opc);
    (number(opc) ^ u128::from_be_bytes(*op)).to_be_bytes()
}

/// Conversion function c2: SRES out of a RES of 4 to 16 bytes (SRES#1 of TS 55.205). Of a longer one, the first 16 count.
#[must_use]
pub fn c2(res: &[u8]) -> [u8; 4] {
    let mut sres = [0; 4];
    for word in res.chunks(4).take(4) {
        sres.iter_mut().zip(word).for_each(|(s, r)| *s ^= r);
    }
    sres
}

/// Conversion function c3: Kc out of CK and IK.
#[must_use]
pub fn c3(ck: &[u8; 16], ik: &[u8; 16]) -> [u8; 8] {
    let both = u128::from_be_bytes(*ck) ^ u128::from_be_bytes(*ik);
    ((both >> 64) as u64 ^ both as u64).to_be_bytes()
}
