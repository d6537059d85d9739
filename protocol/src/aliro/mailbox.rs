//! The user device's mailbox: bytes that a reader may read and write, within bounds and permissions, all or nothing.

use alloc::vec::Vec;

use super::exchange::{ExchangeResponse, MailboxRequest, Operation};

/// The largest mailbox: a record of the chip.
pub const LARGEST: u16 = 4096;
/// Most bytes of writes that an atomic session collects, so that a reader cannot fill the chip's memory.
const COLLECTED: usize = 16 * 1024;
/// Most bytes that one EXCHANGE reads.
const MOST_READ: usize = 16 * 1024;

/// What readers may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Read.
    pub read: bool,
    /// Write and set.
    pub write: bool,
}

/// An atomic session that is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// EXCHANGEs one after another, each in the order in which it is carried out.
    operations: Vec<Operation>,
    bytes: usize,
}

/// What one EXCHANGE came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The answer.
    pub response: ExchangeResponse,
    /// The whole new content, if it changed.
    pub changed: Option<Vec<u8>>,
}

/// Carries out one request on `content`. Reads see the content before any write. `None`: nothing was done, and the answer is an error; an atomic
/// session that was open is gone with all it had collected.
///
/// Within one request sets come before writes, whatever their order.
#[must_use]
pub fn execute(content: &[u8], permissions: Permissions, collected: &mut Option<Collected>, request: &MailboxRequest) -> Option<Done> {
    let done = attempt(content, permissions, collected, request);
    if done.is_none() {
        *collected = None;
    }
    done
}

fn attempt(content: &[u8], permissions: Permissions, collected: &mut Option<Collected>, request: &MailboxRequest) -> Option<Done> {
    let mut reads = Vec::new();
    let (mut sets, mut writes) = (Vec::new(), Vec::new());
    let mut total = 0usize;
    for operation in &request.operations {
        let (offset, length, allowed) = match operation {
            Operation::Read { offset, length } => (*offset, usize::from(*length), permissions.read),
            Operation::Write { offset, data } => (*offset, data.len(), permissions.write),
            Operation::Set { offset, length, .. } => (*offset, usize::from(*length), permissions.write),
        };
        let range = usize::from(offset)..usize::from(offset).checked_add(length)?;
        let place = content.get(range)?;
        if !allowed {
            return None;
        }
        match operation {
            Operation::Read { .. } => {
                total = total.checked_add(length).filter(|total| *total <= MOST_READ)?;
                reads.push(place.to_vec());
            }
            Operation::Write { .. } => writes.push(operation.clone()),
            Operation::Set { .. } => sets.push(operation.clone()),
        }
    }
    let mut session = collected.take().unwrap_or_default();
    for operation in sets.into_iter().chain(writes) {
        session.bytes = session.bytes.checked_add(match &operation {
            Operation::Write { data, .. } => data.len() + 8,
            _ => 8,
        })?;
        session.operations.push(operation);
    }
    if session.bytes > COLLECTED {
        return None;
    }
    let response = ExchangeResponse { reads, status: 0 };
    if request.open {
        *collected = Some(session);
        return Some(Done { response, changed: None });
    }
    let changed = (!session.operations.is_empty()).then(|| {
        let mut new = content.to_vec();
        session.operations.iter().for_each(|operation| apply(&mut new, operation));
        new
    });
    Some(Done { response, changed })
}

/// Bounds were looked at when it was collected; the mailbox does not change its size.
fn apply(content: &mut [u8], operation: &Operation) {
    match operation {
        Operation::Read { .. } => {}
        Operation::Write { offset, data } => {
            let from = usize::from(*offset);
            if let Some(place) = content.get_mut(from..from + data.len()) {
                place.copy_from_slice(data);
            }
        }
        Operation::Set { offset, length, value } => {
            let from = usize::from(*offset);
            if let Some(place) = content.get_mut(from..from + usize::from(*length)) {
                place.fill(*value);
            }
        }
    }
}
