//! A recorded Aliro transaction as whole messages: chains put together, answers in parts collected (ISO/IEC 7816-4, 5.3.3 and 5.3.4).

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::{Fci, ins};
use tapdoor_protocol::apdu::Command;

use crate::recorded::RecordedExchange;

/// Most bytes of one message.
const MOST: usize = 65_536;
const GET_RESPONSE: u8 = 0xC0;

/// A command and its answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its instruction.
    pub ins: u8,
    /// Its data.
    pub data: Vec<u8>,
    /// In which exchange it was sent to its end, from 1.
    pub sent: usize,
    /// In which exchange it was answered to its end, from 1.
    pub answered: usize,
    /// Data and status word; `None` where there was no answer.
    pub answer: Option<(Vec<u8>, [u8; 2])>,
}

impl Message {
    /// The data of an answer that says 9000.
    #[must_use]
    pub fn done(&self) -> Option<&[u8]> {
        match &self.answer {
            Some((data, [0x90, 0x00])) => Some(data),
            _ => None,
        }
    }

    /// The status word of another answer, in digits.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        let (_, sw) = self.answer.as_ref()?;
        (*sw != [0x90, 0x00]).then(|| hex::encode_upper(sw))
    }
}

/// What came after one SELECT of the expedited phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The A5 of the FCI as it came.
    pub a5: Vec<u8>,
    /// In the order in which they were sent.
    pub messages: Vec<Message>,
}

/// The Aliro transactions among these exchanges.
#[must_use]
pub fn transactions(exchanges: &[RecordedExchange]) -> Vec<Transaction> {
    let mut out: Vec<Transaction> = Vec::new();
    let (mut selected, mut chain) = (false, Vec::new());
    for (index, exchange) in exchanges.iter().enumerate() {
        let Ok(command) = Command::parse(&exchange.command) else { continue };
        let answer = match &exchange.answer {
            Some(Ok(answer)) => answer.split_last_chunk::<2>(),
            _ => None,
        };
        if (command.cla, command.ins, command.p1) == (0x00, 0xA4, 0x04) {
            chain.clear();
            let fci = answer
                .filter(|(_, sw)| **sw == [0x90, 0x00])
                .and_then(|(data, _)| Fci::parse(data).ok());
            selected = command.data == Aid::ALIRO_EXPEDITED.as_bytes() && fci.is_some();
            if let (true, Some(fci)) = (selected, fci) {
                out.push(Transaction {
                    a5: fci.a5,
                    messages: Vec::new(),
                });
            }
            continue;
        }
        let Some(transaction) = out.last_mut().filter(|_| selected) else {
            continue;
        };
        let answer = answer.map(|(data, sw)| (data.to_vec(), *sw));
        if command.ins == GET_RESPONSE {
            if let (Some(last), Some((data, sw))) = (transaction.messages.last_mut(), answer)
                && let Some((whole, status)) = &mut last.answer
                && whole.len() + data.len() <= MOST
            {
                whole.extend(data);
                *status = sw;
                last.answered = index + 1;
            }
            continue;
        }
        if chain.len() + command.data.len() > MOST {
            chain.clear();
        }
        chain.extend_from_slice(command.data);
        // A part that is not taken ends the chain.
        if command.is_chained() && matches!(answer, Some((_, [0x90, 0x00]))) {
            continue;
        }
        transaction.messages.push(Message {
            ins: command.ins,
            data: std::mem::take(&mut chain),
            sent: index + 1,
            answered: index + 1,
            answer,
        });
    }
    out
}

impl Transaction {
    /// The next message after this place that is none of CONTROL FLOW.
    #[must_use]
    pub fn after(&self, place: usize) -> Option<&Message> {
        self.messages.iter().skip(place + 1).find(|m| m.ins != ins::CONTROL_FLOW)
    }
}
