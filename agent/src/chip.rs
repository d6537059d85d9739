//! The chip as its agent sees it: over its own wire, not through the field.

/// A chip that an agent administers.
pub trait WiredChip: Send + Sync {
    /// The agent's session with the card manager begins afresh: no secure channel is open.
    fn reset(&self);

    /// Answers a C-APDU; `response` comes empty.
    fn process(&self, command: &[u8], response: &mut Vec<u8>);

    /// Proves to the server whose agent this is: AES-CMAC(K_agent, "AGENT1" || challenge || id), computed by the chip; `None` if it has no such key.
    ///
    /// No command from the field reaches this, so no reader can have proofs made.
    fn proof(&self, challenge: &[u8; 16], id: &[u8; 8]) -> Option<[u8; 16]>;
}

impl<C: WiredChip + ?Sized> WiredChip for std::sync::Arc<C> {
    fn reset(&self) {
        (**self).reset();
    }

    fn process(&self, command: &[u8], response: &mut Vec<u8>) {
        (**self).process(command, response);
    }

    fn proof(&self, challenge: &[u8; 16], id: &[u8; 8]) -> Option<[u8; 16]> {
        (**self).proof(challenge, id)
    }
}
