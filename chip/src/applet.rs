//! The interface of an application on the chip.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::Event;
use tapdoor_protocol::status::StatusWord;

use crate::sandbox::Fault;
use crate::vault::AppletVault;

/// What the chip lends an applet for one command: keys by reference, records, its own AID.
///
/// Everything the applet stores through `vault` is committed in one transaction before the answer leaves the chip.
pub struct Env<'a> {
    /// Cryptography and storage, restricted to this applet's keys and records.
    pub vault: AppletVault<'a>,
    /// The applet's own AID.
    pub aid: &'a Aid,
    /// What happened, for the program that hosts the chip.
    pub events: &'a mut Vec<Event>,
}

/// How an application wants its APDUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApduRules {
    /// Most bytes of answer in one response to a short command.
    pub part: usize,
    /// Longest command and response APDU where extended lengths are taken, status word included; none where they are refused (6700).
    pub extended: Option<(usize, usize)>,
    /// Whether SELECT and CONTROL FLOW in the middle of a chain are served and end the chain; otherwise they are refused (6883).
    pub breaks_chain: bool,
}

impl Default for ApduRules {
    /// Never 256 bytes, which some readers cannot carry; extended lengths without limit.
    fn default() -> Self {
        Self {
            part: 255,
            extended: Some((usize::MAX, usize::MAX)),
            breaks_chain: false,
        }
    }
}

/// The instruction SELECT.
pub const SELECT: u8 = 0xA4;

/// An application. It never sees a key's bytes, and holds nothing that must survive: that goes through the vault.
pub trait Applet: Send {
    /// SELECT by AID (P2 as received): writes the answer's data.
    ///
    /// # Errors
    /// The status word; the application is then not selected.
    fn select(&mut self, env: &mut Env<'_>, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord>;

    /// A command other than SELECT by AID, chains already assembled, GET RESPONSE already handled: writes the answer's data.
    ///
    /// # Errors
    /// The status word; data written so far are dropped.
    fn process(&mut self, env: &mut Env<'_>, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord>;

    /// Another application was selected, or power is gone: forget the session.
    fn deselect(&mut self, env: &mut Env<'_>);

    /// A command failed before it came here, or a SELECT while this application stays selected: wrong lengths, a chain that was not finished.
    fn refused(&mut self, _env: &mut Env<'_>) {}

    /// What the last command wanted to store could not be stored, and its answer does not leave the chip: the application may write another one in
    /// its place, which rests on nothing of that. `false`: it has nothing to say, and the answer is 6F00. Its session ends in any case.
    fn unstored(&mut self, _env: &mut Env<'_>, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// How it wants its APDUs.
    fn rules(&self) -> ApduRules {
        ApduRules::default()
    }

    /// Whether SELECT by file identifier or path is this applet's business (a UICC's file system).
    fn has_files(&self) -> bool {
        false
    }

    /// Whether a command with this instruction (SELECT too, and being left for another application) is a matter of microseconds: nothing
    /// is stored, and there is no work with public keys.
    fn is_quick(&self, _ins: u8) -> bool {
        false
    }

    /// Why the sandbox stopped the applet since the last call, for the host's log. Built-in applets are never stopped.
    fn take_fault(&mut self) -> Option<Fault> {
        None
    }
}
