//! How often somebody may ask: a bucket of tokens for each asker, filled at an even pace, measured by the monotonic clock.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Most askers remembered. Beyond that, those who have a full bucket again are forgotten; if all are busy, new ones are refused.
const MOST: usize = 10_000;

/// Buckets by asker.
#[derive(Debug)]
pub struct Rate<K> {
    per_minute: u32,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Hash + Eq> Rate<K> {
    /// So many a minute, and as many at once.
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            buckets: Mutex::default(),
        }
    }

    /// Takes a token; false if there is none.
    pub fn take(&self, key: K, now: Instant) -> bool {
        let most = f64::from(self.per_minute);
        let filled = |bucket: &Bucket| (bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * most / 60.0).min(most);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| filled(bucket) < most);
            if buckets.len() >= MOST {
                return false;
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: most, at: now });
        let tokens = filled(bucket);
        let allowed = tokens >= 1.0;
        *bucket = Bucket {
            tokens: if allowed { tokens - 1.0 } else { tokens },
            at: now,
        };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_empties_and_fills() {
        let rate = Rate::new(3);
        let start = Instant::now();
        assert_eq!([0; 4].map(|_| rate.take("a", start)), [true, true, true, false]);
        assert!(rate.take("b", start));
        assert!(!rate.take("a", start + Duration::from_secs(19)));
        assert!(rate.take("a", start + Duration::from_secs(21)));
        assert!(!rate.take("a", start + Duration::from_secs(21)));
        let later = start + Duration::from_secs(3600);
        assert_eq!([0; 4].map(|_| rate.take("a", later)), [true, true, true, false]);
    }

    #[test]
    fn askers_are_bounded() {
        let rate = Rate::new(1);
        let now = Instant::now();
        for n in 0..MOST {
            assert!(rate.take(n, now));
        }
        assert!(!rate.take(MOST, now));
        assert!(rate.take(MOST, now + Duration::from_secs(61)));
    }
}
