//! The chip as an applet sees it. Each method is one host function; the safety of each call is that pointer and length are of one slice.

use alloc::vec;
use alloc::vec::Vec;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::{Algorithm, Autn, Auts, Rand, Sqn};
use tapdoor_protocol::door::Event;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::{KeyRef, Method, Opened, Peer, PeerKey, Slot, Vault, VaultError, Vector};

use crate::imports;

/// Longest record.
const RECORD: usize = 4096;
/// Longest RES.
const RES: usize = 32;
/// A list entry in memory.
const PEER: usize = 18;

/// The chip, as one instance of an application sees it.
#[derive(Debug)]
pub struct Chip {
    aid: Aid,
}

impl Chip {
    /// Asks for what does not change; `None` if the chip does not say who we are.
    pub(crate) fn new() -> Option<Self> {
        let aid = take(16, |at, capacity| unsafe { imports::aid(at, capacity) });
        Some(Self { aid: Aid::new(&aid)? })
    }

    /// The parameters of this instance, BER-TLV.
    #[must_use]
    pub fn parameters(&self) -> Vec<u8> {
        take(64, |at, capacity| unsafe { imports::parameters(at, capacity) })
    }

    /// The AID of this instance.
    #[must_use]
    pub fn aid(&self) -> Aid {
        self.aid
    }

    pub(crate) fn input(&self, length: usize) -> Vec<u8> {
        take(length, |at, capacity| unsafe { imports::input(at, capacity) })
    }

    pub(crate) fn output(&mut self, data: &[u8]) {
        if !data.is_empty() {
            unsafe { imports::output(data.as_ptr(), data.len()) };
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        let (kind, bytes) = match event {
            Event::Authenticated { lock, clock } => (1, [&lock.0[..], &clock.to_be_bytes()].concat()),
            Event::Verdict(verdict) => (2, vec![verdict.code()]),
            Event::Downloading => (3, Vec::new()),
            // Aliro is built in; no downloaded application has this to tell.
            Event::AliroReader { .. } | Event::ReaderStatus(_) => return,
        };
        unsafe { imports::event(kind, bytes.as_ptr(), bytes.len()) };
    }
}

/// Bytes of unknown length: a second call when the first guess was too small.
fn take(guess: usize, call: impl Fn(*mut u8, usize) -> i32) -> Vec<u8> {
    try_take(guess, call).unwrap_or_default()
}

fn try_take(guess: usize, call: impl Fn(*mut u8, usize) -> i32) -> Result<Vec<u8>, i32> {
    let mut out = vec![0; guess];
    let length = length(call(out.as_mut_ptr(), guess))?;
    out.resize(length, 0);
    if length > guess {
        call(out.as_mut_ptr(), length);
    }
    Ok(out)
}

fn length(result: i32) -> Result<usize, i32> {
    usize::try_from(result).map_err(|_| result)
}

/// An error number as the vault's error; "nothing there" is none, and handled before.
fn refused(code: i32) -> VaultError {
    match code {
        -1 | -5 => VaultError::NoKey,
        -3 => VaultError::Random,
        -4 => VaultError::Full,
        _ => VaultError::Store,
    }
}

fn done(result: i32) -> Result<(), VaultError> {
    if result < 0 { Err(refused(result)) } else { Ok(()) }
}

/// Done, or nothing there.
fn found(result: i32) -> Result<Option<usize>, VaultError> {
    match length(result) {
        Ok(length) => Ok(Some(length)),
        Err(-5) => Ok(None),
        Err(code) => Err(refused(code)),
    }
}

/// A part of what the chip wrote; it is always as long as docs/applets.md says.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

fn encode(peer: &Peer) -> [u8; PEER] {
    let mut out = [0; PEER];
    out[..4].copy_from_slice(&peer.index.to_le_bytes());
    out[4..12].copy_from_slice(&peer.phone.0);
    out[12] = peer.weakest as u8;
    out[13..17].copy_from_slice(&peer.not_after.to_be_bytes());
    out[17] = peer.flags;
    out
}

fn decode(bytes: &[u8]) -> Option<Peer> {
    Some(Peer {
        index: u32::from_le_bytes(part(bytes, 0)),
        phone: PhoneId(part(bytes, 4)),
        weakest: Method::from_number(*bytes.get(12)?)?,
        not_after: u32::from_be_bytes(part(bytes, 13)),
        flags: *bytes.get(17)?,
    })
}

impl Vault for Chip {
    fn random(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        done(unsafe { imports::random(out.as_mut_ptr(), out.len()) })
    }

    fn key(&self, slot: Slot) -> Result<KeyRef, VaultError> {
        let mut key = 0;
        done(unsafe { imports::key(slot as u32, &raw mut key) })?;
        Ok(KeyRef(key))
    }

    fn derive<const N: usize>(
        &mut self,
        parent: KeyRef,
        label: &[u8],
        context: &[&[u8]],
        lengths: [usize; N],
    ) -> Result<[KeyRef; N], VaultError> {
        let context = context.concat();
        let lengths = lengths.map(|length| u8::try_from(length).unwrap_or(u8::MAX));
        let mut keys = [0; N];
        done(unsafe {
            imports::derive(
                parent.0,
                label.as_ptr(),
                label.len(),
                context.as_ptr(),
                context.len(),
                lengths.as_ptr(),
                N,
                keys.as_mut_ptr(),
            )
        })?;
        Ok(keys.map(KeyRef))
    }

    fn forget(&mut self, key: KeyRef) {
        unsafe { imports::forget(key.0) };
    }

    fn cmac(&mut self, key: KeyRef, data: &[&[u8]]) -> Result<[u8; 16], VaultError> {
        let data = data.concat();
        let mut mac = [0; 16];
        done(unsafe { imports::cmac(key.0, data.as_ptr(), data.len(), mac.as_mut_ptr()) })?;
        Ok(mac)
    }

    fn ccm_seal(&mut self, key: KeyRef, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        try_take(plain.len() + 16, |at, capacity| unsafe {
            imports::ccm_seal(key.0, aad.as_ptr(), aad.len(), plain.as_ptr(), plain.len(), at, capacity)
        })
        .map_err(refused)
    }

    fn ccm_open(&mut self, key: KeyRef, aad: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        let opened = try_take(sealed.len(), |at, capacity| unsafe {
            imports::ccm_open(key.0, aad.as_ptr(), aad.len(), sealed.as_ptr(), sealed.len(), at, capacity)
        });
        option(opened)
    }

    fn find_peer(&mut self, data: &[u8], tag: &[u8; 16]) -> Result<Option<Peer>, VaultError> {
        let mut peer = [0; PEER];
        let found = found(unsafe { imports::find_peer(data.as_ptr(), data.len(), tag.as_ptr(), peer.as_mut_ptr()) })?;
        Ok(found.and_then(|_| decode(&peer)))
    }

    fn find_subscriber(&mut self, imsi: &str) -> Result<Option<(Peer, KeyRef, Algorithm)>, VaultError> {
        let mut subscriber = [0; PEER + 5];
        let found = found(unsafe { imports::find_subscriber(imsi.as_ptr(), imsi.len(), subscriber.as_mut_ptr()) })?;
        Ok(found.and_then(|_| {
            let algorithm = Algorithm::from_p2(subscriber[PEER + 4])?;
            Some((decode(&subscriber)?, KeyRef(u32::from_le_bytes(part(&subscriber, PEER))), algorithm))
        }))
    }

    fn peer_key(&mut self, peer: &Peer, which: PeerKey) -> Result<KeyRef, VaultError> {
        let mut key = 0;
        done(unsafe { imports::peer_key(encode(peer).as_ptr(), which as u32, &raw mut key) })?;
        Ok(KeyRef(key))
    }

    fn aka_vector(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, sqn: Sqn) -> Result<Vector, VaultError> {
        let sqn = sqn.to_bytes();
        let vector = try_take(16 + 4 + RES, |at, capacity| unsafe {
            imports::aka_vector(key.0, algorithm.p2().into(), rand.0.as_ptr(), sqn.as_ptr(), at, capacity)
        })
        .map_err(refused)?;
        Ok(Vector {
            autn: Autn(part(&vector, 0)),
            session: KeyRef(u32::from_le_bytes(part(&vector, 16))),
            xres: vector.get(20..).unwrap_or_default().to_vec(),
        })
    }

    fn aka_open(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, autn: &Autn) -> Result<Option<Opened>, VaultError> {
        let opened = try_take(6 + 4 + RES, |at, capacity| unsafe {
            imports::aka_open(key.0, algorithm.p2().into(), rand.0.as_ptr(), autn.0.as_ptr(), at, capacity)
        });
        Ok(option(opened)?.map(|opened| Opened {
            sqn: Sqn::from_bytes(part(&opened, 0)),
            session: KeyRef(u32::from_le_bytes(part(&opened, 6))),
            res: opened.get(10..).unwrap_or_default().to_vec(),
        }))
    }

    fn aka_auts(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, sqn_ms: Sqn) -> Result<Auts, VaultError> {
        let (sqn, mut auts) = (sqn_ms.to_bytes(), [0; 14]);
        done(unsafe { imports::aka_auts(key.0, algorithm.p2().into(), rand.0.as_ptr(), sqn.as_ptr(), auts.as_mut_ptr()) })?;
        Ok(Auts(auts))
    }

    fn aka_resynchronise(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand, auts: &Auts) -> Result<Option<Sqn>, VaultError> {
        let mut sqn = [0; 6];
        let found =
            found(unsafe { imports::aka_resynchronise(key.0, algorithm.p2().into(), rand.0.as_ptr(), auts.0.as_ptr(), sqn.as_mut_ptr()) })?;
        Ok(found.map(|_| Sqn::from_bytes(sqn)))
    }

    fn aka_gsm(&mut self, key: KeyRef, algorithm: Algorithm, rand: &Rand) -> Result<([u8; 4], [u8; 8]), VaultError> {
        let mut triplet = [0; 12];
        done(unsafe { imports::aka_gsm(key.0, algorithm.p2().into(), rand.0.as_ptr(), triplet.as_mut_ptr()) })?;
        Ok((part(&triplet, 0), part(&triplet, 4)))
    }

    fn reveal_session(&mut self, session: KeyRef) -> Result<([u8; 16], [u8; 16]), VaultError> {
        let mut keys = [0; 32];
        done(unsafe { imports::reveal_session(session.0, keys.as_mut_ptr()) })?;
        Ok((part(&keys, 0), part(&keys, 16)))
    }

    fn ephemeral(&mut self) -> Result<(KeyRef, [u8; 33]), VaultError> {
        let mut pair = [0; 4 + 33];
        done(unsafe { imports::ephemeral(pair.as_mut_ptr()) })?;
        Ok((KeyRef(u32::from_le_bytes(part(&pair, 0))), part(&pair, 4)))
    }

    fn ecies_seal(&mut self, ephemeral: KeyRef, recipient: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        try_take(plain.len() + 8, |at, capacity| unsafe {
            imports::ecies_seal(
                ephemeral.0,
                recipient.as_ptr(),
                recipient.len(),
                plain.as_ptr(),
                plain.len(),
                at,
                capacity,
            )
        })
        .map_err(refused)
    }

    fn sign(&mut self, key: KeyRef, message: &[u8]) -> Result<[u8; 64], VaultError> {
        let mut signature = [0; 64];
        done(unsafe { imports::sign(key.0, message.as_ptr(), message.len(), signature.as_mut_ptr()) })?;
        Ok(signature)
    }

    fn load(&mut self, record: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        option(try_take(RECORD, |at, capacity| unsafe {
            imports::load(record.as_ptr(), record.len(), at, capacity)
        }))
    }

    fn store(&mut self, record: &[u8], value: &[u8]) -> Result<(), VaultError> {
        done(unsafe { imports::store(record.as_ptr(), record.len(), value.as_ptr(), value.len()) })
    }
}

fn option(taken: Result<Vec<u8>, i32>) -> Result<Option<Vec<u8>>, VaultError> {
    match taken {
        Ok(bytes) => Ok(Some(bytes)),
        Err(-5) => Ok(None),
        Err(code) => Err(refused(code)),
    }
}
