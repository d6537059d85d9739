//! Commands out, in parts where they must be; answers in, in parts where they come so, within bounds.

use alloc::format;
use alloc::vec::Vec;

use super::super::channel::{Channel, ChannelError};
use super::super::exchange::ExchangeCommand;
use super::super::{AliroVault, ReaderStatus, ins};
use super::failure::{Failure, name};
use super::{Awaited, Session};
use crate::apdu::Command;
use crate::door::LockStep;
use crate::status::StatusWord;

/// Most bytes of one answer, whatever the number of its parts.
const LONGEST_ANSWER: usize = 20 * 1024;
/// Most parts of one answer.
const MOST_PARTS: u32 = 100;
/// Data in one short command.
const SHORT_DATA: usize = 255;

/// Takes another part of the answer.
pub(super) fn collect(session: &mut Session, data: &[u8]) -> Result<(), Failure> {
    if session.answer.len().saturating_add(data.len()) > LONGEST_ANSWER {
        let evidence = format!("the answer to {} has more than {LONGEST_ANSWER} bytes", name(session.awaited));
        return Err(Failure::flow(evidence));
    }
    session.answer.extend_from_slice(data);
    Ok(())
}

/// GET RESPONSE for the rest of an answer of which `left` bytes (SW2 of 61xx) are to come, if it comes to an end.
pub(super) fn get_response(session: &mut Session, part: &[u8], left: u8) -> Result<LockStep, Failure> {
    session.rounds += 1;
    if session.rounds > MOST_PARTS || (part.is_empty() && session.starved) {
        return Err(Failure::flow(format!(
            "the answer to {} does not come to an end",
            name(session.awaited)
        )));
    }
    session.starved = part.is_empty();
    collect(session, part)?;
    let left = match left {
        0 => 256,
        left => u32::from(left),
    };
    let command = Command::new(0x00, 0xC0, 0x00, 0x00)
        .ne(left)
        .encode()
        .map_err(|_| StatusWord::NO_DIAGNOSIS)?;
    Ok(LockStep::Transmit {
        command,
        phone: session.phone,
    })
}

/// The next part of a command.
pub(super) fn next_part(session: &mut Session) -> Result<LockStep, Failure> {
    let command = session.parts.pop().ok_or(StatusWord::NO_DIAGNOSIS)?;
    Ok(LockStep::Transmit {
        command,
        phone: session.phone,
    })
}

/// A command: short, as long as the device takes it, or as a chain. Every part has Le 00, as the reference reader has it.
pub(super) fn send(session: &mut Session, awaited: Awaited, ins: u8, data: &[u8]) -> Result<LockStep, Failure> {
    session.awaited = awaited;
    (session.rounds, session.starved) = (0, false);
    session.answer.clear();
    session.parts.clear();
    let command = Command::new(0x80, ins, 0, 0).data(data);
    // Header, three bytes of Lc, two of Le.
    let extended = session
        .lengths
        .filter(|lengths| data.len() > SHORT_DATA && data.len() + 9 <= usize::from(lengths.command));
    let encoded = match extended {
        Some(lengths) => Vec::from([command
            .ne(u32::from(lengths.response).saturating_sub(2).max(1))
            .force_extended()
            .encode()]),
        None if data.is_empty() => Vec::from([command.ne(256).encode()]),
        None => {
            let chunks = data.chunks(SHORT_DATA);
            let last = chunks.len();
            let part = |(number, chunk)| {
                let cla = if number + 1 == last { 0x80 } else { 0x90 };
                Command::new(cla, ins, 0, 0).data(chunk).ne(256).encode()
            };
            chunks.enumerate().map(part).collect()
        }
    };
    for command in encoded.into_iter().rev() {
        session.parts.push(command.map_err(|_| StatusWord::NO_DIAGNOSIS)?);
    }
    next_part(session)
}

/// EXCHANGE with this content.
pub(super) fn send_exchange<V: AliroVault>(
    vault: &mut V,
    session: &mut Session,
    awaited: Awaited,
    command: &ExchangeCommand,
) -> Result<LockStep, Failure> {
    let channel = session.channel.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
    let sealed = channel.seal(vault, &command.encode()).map_err(own)?;
    send(session, awaited, ins::EXCHANGE, &sealed)
}

fn own(error: ChannelError) -> Failure {
    match error {
        ChannelError::Vault(error) => error.into(),
        other => Failure::flow(format!("{other}")),
    }
}

/// EXCHANGE with a status, to be sent after the verdict.
pub(super) fn seal<V: AliroVault>(channel: &mut Channel, vault: &mut V, status: ReaderStatus) -> Result<Vec<u8>, ()> {
    let sealed = channel.seal(vault, &ExchangeCommand::status(status).encode()).map_err(|_| ())?;
    Command::new(0x80, ins::EXCHANGE, 0, 0)
        .data(&sealed)
        .ne(256)
        .encode()
        .map_err(|_| ())
}
