//! TS 33.102 6.3: AUTN, RES, CK, IK and AUTS, as the home side makes and the USIM opens them, and the other way round.

use alloc::vec::Vec;
use core::fmt;

use zeroize::ZeroizeOnDrop;

use super::milenage::{Milenage, c2, c3};
use super::tuak::{Parameters, Tuak};
use super::{Algorithm, Amf, Autn, Auts, Rand, Sqn};
use crate::crypto::equal;

/// What the home side makes for one authentication: AUTN, the RES to expect, CK and IK.
pub type Vector = (Autn, Vec<u8>, [u8; 16], [u8; 16]);

/// What a USIM finds in an AUTN that its home has made: SQN, AMF, RES, CK and IK.
pub type Opened = (Sqn, Amf, Vec<u8>, [u8; 16], [u8; 16]);

/// A subscriber's keys, ready for use. Overwritten when dropped, never shown.
pub enum Subscriber {
    /// K and OPc.
    Milenage(Milenage),
    /// K and TOPc, usually with [`Parameters::PROFILE`]. MACs of other lengths than 64 bits do not fit into AUTN and AUTS and are cut;
    /// so are CK and IK of 256 bits.
    Tuak(Tuak),
}

/// What f2 to f5 give, in one form for both algorithms.
#[derive(ZeroizeOnDrop)]
struct Response {
    res: Vec<u8>,
    ck: [u8; 16],
    ik: [u8; 16],
    ak: [u8; 6],
}

impl Subscriber {
    /// K || OPc (32 bytes) for MILENAGE, K || TOPc (48 or 64 bytes) for TUAK with [`Parameters::PROFILE`]; `None` for every other length.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Milenage => {
                let (k, opc) = key.split_first_chunk::<16>()?;
                Some(Self::Milenage(Milenage::new(k, opc.try_into().ok()?)))
            }
            Algorithm::Tuak => {
                let (k, topc) = key.split_last_chunk::<32>()?;
                Tuak::new(k, topc, Parameters::PROFILE).map(Self::Tuak)
            }
        }
    }

    /// Which algorithm these keys are for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Milenage(_) => Algorithm::Milenage,
            Self::Tuak(_) => Algorithm::Tuak,
        }
    }

    /// Home side: what one authentication needs. The caller overwrites what is secret.
    #[must_use]
    pub fn make_vector(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> Vector {
        let mut response = self.response(rand);
        let [a, b] = amf.0;
        let [s0, s1, s2, s3, s4, s5] = masked(sqn.to_bytes(), &response.ak);
        let [m0, m1, m2, m3, m4, m5, m6, m7] = self.mac_a(rand, sqn, amf);
        let autn = Autn([s0, s1, s2, s3, s4, s5, a, b, m0, m1, m2, m3, m4, m5, m6, m7]);
        (autn, core::mem::take(&mut response.res), response.ck, response.ik)
    }

    /// USIM side: what AUTN holds; `None` when the MAC is wrong, compared in constant time. Whether SQN is fresh is another question
    /// ([`freshness`](super::freshness)), to be asked before RES is let go. The caller overwrites what is secret.
    #[must_use]
    pub fn open_autn(&self, rand: &Rand, autn: &Autn) -> Option<Opened> {
        let [s0, s1, s2, s3, s4, s5, a, b, mac @ ..] = autn.0;
        let mut response = self.response(rand);
        let sqn = Sqn::from_bytes(masked([s0, s1, s2, s3, s4, s5], &response.ak));
        let amf = Amf([a, b]);
        equal(&self.mac_a(rand, sqn, amf), &mac).then(|| (sqn, amf, core::mem::take(&mut response.res), response.ck, response.ik))
    }

    /// USIM side: AUTS for a challenge whose SQN was not fresh. AMF\* is 0000.
    #[must_use]
    pub fn make_auts(&self, rand: &Rand, sqn_ms: Sqn) -> Auts {
        let [s0, s1, s2, s3, s4, s5] = masked(sqn_ms.to_bytes(), &self.ak_star(rand));
        let [m0, m1, m2, m3, m4, m5, m6, m7] = self.mac_s(rand, sqn_ms);
        Auts([s0, s1, s2, s3, s4, s5, m0, m1, m2, m3, m4, m5, m6, m7])
    }

    /// Home side: SQN_MS out of AUTS; `None` when MAC-S is wrong, compared in constant time.
    #[must_use]
    pub fn open_auts(&self, rand: &Rand, auts: &Auts) -> Option<Sqn> {
        let [s0, s1, s2, s3, s4, s5, mac @ ..] = auts.0;
        let sqn_ms = Sqn::from_bytes(masked([s0, s1, s2, s3, s4, s5], &self.ak_star(rand)));
        equal(&self.mac_s(rand, sqn_ms), &mac).then_some(sqn_ms)
    }

    /// GSM context (TS 31.102 7.1.2.1, TS 33.102 6.8.1.2): SRES by c2 and Kc by c3.
    #[must_use]
    pub fn gsm(&self, rand: &Rand) -> ([u8; 4], [u8; 8]) {
        let response = self.response(rand);
        (c2(&response.res), c3(&response.ck, &response.ik))
    }

    fn response(&self, rand: &Rand) -> Response {
        match self {
            Self::Milenage(milenage) => {
                let r = milenage.f2345(rand);
                Response {
                    res: r.res.to_vec(),
                    ck: r.ck,
                    ik: r.ik,
                    ak: r.ak,
                }
            }
            Self::Tuak(tuak) => {
                let mut r = tuak.f2345(rand);
                Response {
                    res: core::mem::take(&mut r.res),
                    ck: first(&r.ck),
                    ik: first(&r.ik),
                    ak: r.ak,
                }
            }
        }
    }

    fn mac_a(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> [u8; 8] {
        match self {
            Self::Milenage(milenage) => milenage.f1(rand, sqn, amf),
            Self::Tuak(tuak) => first(&tuak.f1(rand, sqn, amf)),
        }
    }

    fn mac_s(&self, rand: &Rand, sqn_ms: Sqn) -> [u8; 8] {
        match self {
            Self::Milenage(milenage) => milenage.f1_star(rand, sqn_ms, Amf::ZERO),
            Self::Tuak(tuak) => first(&tuak.f1_star(rand, sqn_ms, Amf::ZERO)),
        }
    }

    fn ak_star(&self, rand: &Rand) -> [u8; 6] {
        match self {
            Self::Milenage(milenage) => milenage.f5_star(rand),
            Self::Tuak(tuak) => tuak.f5_star(rand),
        }
    }
}

impl ZeroizeOnDrop for Subscriber {}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscriber({}, ..)", self.algorithm())
    }
}

/// SQN xor AK.
fn masked(mut sqn: [u8; 6], ak: &[u8; 6]) -> [u8; 6] {
    sqn.iter_mut().zip(ak).for_each(|(s, a)| *s ^= a);
    sqn
}

/// The first N bytes; TUAK never gives fewer than are asked for here.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    first
}
