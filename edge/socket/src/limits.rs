//! Limits: how much one connection may ask for in a while.
//!
//! A client that sends faster than it may is read more slowly, which costs only itself; one that
//! joins more often than it may is refused in words, because its library tries again by itself.

use std::time::Duration;

use tokio::time::Instant;

/// So many at once, and so many in each second after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// In a second.
    pub per_second: u32,
}

/// What one connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages of any kind.
    pub messages: Rate,
    /// Joins.
    pub joins: Rate,
}

impl Default for Limits {
    /// Ten times what the busiest page sends; joins are enough for all channels of a connection
    /// twice over, since a client that comes back joins all of them at once.
    fn default() -> Self {
        Self {
            messages: Rate { burst: 2_000, per_second: 1_000 },
            joins: Rate { burst: 200, per_second: 20 },
        }
    }
}

/// What is left of a rate.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// Thousandths of one.
    left: u64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: u64::from(rate.burst) * 1_000, at: now }
    }

    /// Takes one out, or tells how long to wait for it.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed_ms = u64::try_from((now - self.at).as_millis()).unwrap_or(u64::MAX);
        let gained = passed_ms.saturating_mul(u64::from(self.rate.per_second));
        if gained > 0 {
            let full = u64::from(self.rate.burst) * 1_000;
            self.left = self.left.saturating_add(gained).min(full);
            self.at = now;
        }
        if let Some(left) = self.left.checked_sub(1_000) {
            self.left = left;
            return Ok(());
        }
        let missing = 1_000 - self.left;
        Err(Duration::from_millis(missing.div_ceil(u64::from(self.rate.per_second.max(1)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_burst_one_has_to_wait_for_the_next() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(Rate { burst: 3, per_second: 2 }, begin);
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);

        let burst = [0, 0, 0].map(|ms| bucket.take(at(ms)));
        let refused = bucket.take(at(100));
        let granted = bucket.take(at(500));

        assert_eq!(burst, [Ok(()); 3]);
        assert_eq!(refused, Err(Duration::from_millis(400)));
        assert_eq!(granted, Ok(()));
        assert_eq!(bucket.take(at(500)), Err(Duration::from_millis(500)));
    }

    #[test]
    fn whoever_was_quiet_has_no_more_than_the_burst() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(Rate { burst: 2, per_second: 1_000 }, begin);
        let later = begin + Duration::from_hours(1);

        let taken = [(); 3].map(|()| bucket.take(later).is_ok());

        assert_eq!(taken, [true, true, false]);
    }
}
