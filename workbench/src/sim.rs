//! A phone in the same process, as a source of cards.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tapdoor_hce_card::serve::Card;
use tapdoor_hce_card::{HasPhone, Phone, PhoneLink};
use tapdoor_link::stop::Stop;
use tapdoor_link::{CardLink, FaultPlan, Faulty, Limits, LinkError, LinkErrorKind};
use tapdoor_reader::source::{ANSWER_TIMEOUT, Activation, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError};

/// A phone that is shared between the source and whoever changes its switches.
#[derive(Clone)]
pub struct SharedPhone(Arc<Mutex<Phone>>);

impl SharedPhone {
    /// Shares a phone.
    #[must_use]
    pub fn new(phone: Phone) -> Self {
        Self(Arc::new(Mutex::new(phone)))
    }

    /// The phone, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, Phone> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HasPhone for SharedPhone {
    fn with_phone<T>(&self, f: impl FnOnce(&mut Phone) -> T) -> T {
        f(&mut self.lock())
    }
}

impl Card for SharedPhone {
    fn power_on(&mut self) {
        self.lock().power_on();
    }

    fn power_off(&mut self) {
        self.lock().power_off();
    }

    fn reset(&mut self) {
        self.lock().reset();
    }

    fn atr(&self) -> &[u8] {
        &ATR
    }

    fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
        self.lock().process(command, response);
    }

    fn try_process(&mut self, command: &[u8], response: &mut Vec<u8>) -> bool {
        // Somebody else at the phone, its agent for instance, can take long.
        match self.0.try_lock() {
            Ok(mut phone) => phone.try_process(command, response),
            Err(TryLockError::Poisoned(phone)) => phone.into_inner().try_process(command, response),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    fn is_leaving(&mut self) -> bool {
        self.lock().is_leaving()
    }
}

const ATR: [u8; 5] = [0x3B, 0x80, 0x80, 0x01, 0x01];

/// A phone that taps again and again.
pub struct SimSource {
    phone: SharedPhone,
    plan: FaultPlan,
    pause: Duration,
}

impl SimSource {
    /// Taps of this phone, with `pause` between them.
    #[must_use]
    pub fn new(phone: SharedPhone, pause: Duration) -> Self {
        Self {
            phone,
            plan: FaultPlan::default(),
            pause,
        }
    }

    /// The same with faults on the link of each tap.
    #[must_use]
    pub fn with_faults(mut self, plan: FaultPlan) -> Self {
        self.plan = plan;
        self
    }
}

/// Tells silence from leaving.
struct Patient<L> {
    link: L,
    stop: Stop,
}

impl<L: CardLink> CardLink for Patient<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        let begun = Instant::now();
        self.link.transmit(command, response).map_err(|mut e| {
            if e.kind == LinkErrorKind::CardGone && self.stop.is_stopped() {
                e.kind = LinkErrorKind::Cancelled;
                e.detail = "stopped while the phone was silent".into();
            } else if e.kind == LinkErrorKind::CardGone && begun.elapsed() >= ANSWER_TIMEOUT {
                e.kind = LinkErrorKind::Timeout;
                e.detail = format!("no answer within {ANSWER_TIMEOUT:?}");
            }
            e
        })
    }

    fn limits(&self) -> Limits {
        self.link.limits()
    }
}

impl CardSource for SimSource {
    fn describe(&self) -> ReaderInfo {
        ReaderInfo {
            name: "simulated phone".into(),
            driver: "sim",
            firmware: None,
            mode: "sim",
            listen: None,
            is_acr122: false,
        }
    }

    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError> {
        if stop.is_stopped() {
            return Err(SourceError::cancelled("sim"));
        }
        self.phone.lock().waited_for(stop, ANSWER_TIMEOUT);
        let link = Patient {
            link: PhoneLink::new(self.phone.clone()),
            stop: stop.clone(),
        };
        let link: Box<dyn CardLink + Send> = if self.plan.is_empty() {
            Box::new(link)
        } else {
            Box::new(Faulty::new(link, self.plan.clone()))
        };
        Ok(Session {
            link,
            atr: Some(ATR.to_vec()),
            protocol: Protocol::T1,
            hold: Hold::Exclusive,
            activation: Activation::default(),
        })
    }

    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError> {
        if stop.sleep(self.pause) {
            Err(SourceError::cancelled("sim"))
        } else {
            Ok(())
        }
    }

    fn set_observer(&mut self, _observer: Observer) {}
}
