//! Which simulcast layer a viewer gets: a decision made of the bandwidth estimate and time alone.
//!
//! Down at once, up only when the estimate has held for a while; below the lowest layer the picture
//! goes and the sound stays. A change takes effect at a keyframe of the new layer, which is asked
//! for; until it comes the old layer goes on, unless there is no room for it either.
//!
//! Pure: time is an argument, µs; rates are bits a second.

/// The estimate must hold for so long before the picture gets better, µs. An estimate that rises
/// for a moment and falls again would otherwise cost two keyframes.
pub const HOLD_UP: u64 = 3_000_000;

/// The same for a picture that was dropped to come back, µs: five seconds are promised for it in all.
pub const HOLD_RETURN: u64 = 2_000_000;

/// Going up needs this much more than the layer's rate, in percent; staying needs only the rate.
pub const HEADROOM_PERCENT: u64 = 20;

/// Each climb that had to be undone within this time doubles the next wait, µs.
const RELAPSE: u64 = 10_000_000;

/// Longest wait before another attempt, µs.
const MAX_HOLD: u64 = 30_000_000;

/// A layer that needs this much more than the estimate, in percent, is not sent on until the next
/// keyframe: the sound would wait behind it.
const OVERLOAD_PERCENT: u64 = 40;

/// A keyframe that was asked for and did not come is asked for again after so long, µs.
const ASK_AGAIN: u64 = 1_000_000;

/// One rendition of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The channel's track that carries it.
    pub track: u8,
    /// Its bitrate.
    pub rate: u64,
}

/// What the caller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the source of this track for a keyframe.
    RequestKeyframe(u8),
    /// The picture is dropped: sound only from now on.
    DropVideo,
    /// Video packets of this track are sent from this keyframe on.
    Switch(u8),
}

/// The chooser of one viewer. Layers are sorted by rate, lowest first.
#[derive(Debug)]
pub struct Chooser {
    layers: Vec<Layer>,
    audio_rate: u64,
    current: Option<u8>,
    target: Option<u8>,
    estimate: Option<u64>,
    enough_since: Option<(u8, u64)>,
    climbed: Option<u64>,
    hold_factor: u64,
    asked: Option<u64>,
    limit: Option<u8>,
    /// No picture before this time.
    paused: u64,
}

impl Chooser {
    /// Begins with nothing shown and the best layer aimed at: the first estimate is a guess, and
    /// the first keyframe is what the viewer waits for.
    pub fn new(mut layers: Vec<Layer>, audio_rate: u64) -> Self {
        layers.sort_by_key(|layer| layer.rate);
        let target = layers.last().map(|layer| layer.track);
        Self {
            layers,
            audio_rate,
            current: None,
            target,
            estimate: None,
            enough_since: None,
            climbed: None,
            hold_factor: 1,
            asked: None,
            limit: None,
            paused: 0,
        }
    }

    /// The track being sent, if any.
    pub fn current(&self) -> Option<u8> {
        self.current
    }

    /// The track that is to be sent as soon as a keyframe of it comes.
    pub fn target(&self) -> Option<u8> {
        self.target
    }

    /// The rate the viewer would like, for the estimator to probe for: that of the next better
    /// layer. Probing for the best one at once would crowd out the sound on a narrow way.
    pub fn desired(&self) -> u64 {
        let aim = self.rate_of(self.target);
        let next = self.allowed().iter().find(|layer| layer.rate > aim);
        let rate = next.or(self.allowed().last()).map_or(0, |layer| layer.rate);
        (rate + self.audio_rate) * (110 + HEADROOM_PERCENT) / 100
    }

    /// The viewer wants nothing better than this track; `None` lifts the limit.
    pub fn set_limit(&mut self, track: Option<u8>) {
        self.limit = track;
        let allowed = |target: u8| self.allowed().iter().any(|layer| layer.track == target);
        if self.target.is_some_and(|target| !allowed(target)) {
            self.target = self
                .fitting(self.estimate.unwrap_or(u64::MAX))
                .map(|layer| layer.track);
            self.asked = None;
        }
    }

    /// Layers came, went or changed their rates.
    pub fn set_layers(&mut self, mut layers: Vec<Layer>) {
        layers.sort_by_key(|layer| layer.rate);
        self.layers = layers;
        let known = |track: u8| self.layers.iter().any(|layer| layer.track == track);
        if self.current.is_some_and(|track| !known(track)) {
            self.current = None;
        }
        // Where nothing is estimated the best is right, also when it comes later than the others.
        if self.estimate.is_none() || self.target.is_none_or(|track| !known(track)) {
            let target = self
                .fitting(self.estimate.unwrap_or(u64::MAX))
                .map(|layer| layer.track);
            if self.target != target {
                self.target = target;
                self.asked = None;
            }
        }
    }

    /// A new estimate of what the way to the viewer can take.
    pub fn estimate(&mut self, rate: u64) {
        self.estimate = Some(rate);
    }

    /// Decides; called when the estimate changed and at [`Chooser::due`].
    pub fn poll(&mut self, now: u64) -> Option<Action> {
        if let Some(estimate) = self.estimate
            && let Some(action) = self.weigh(estimate, now)
        {
            return Some(action);
        }
        let target = self.target?;
        let asked = self.asked.is_some_and(|asked| now < asked + ASK_AGAIN);
        if self.current == Some(target) || asked || now < self.paused {
            return None;
        }
        self.asked = Some(now);
        Some(Action::RequestKeyframe(target))
    }

    fn weigh(&mut self, estimate: u64, now: u64) -> Option<Action> {
        let aim = self.rate_of(self.target);
        let fits = self.fitting(estimate);
        let shrunk = self.target.is_some() && aim + self.audio_rate > estimate;
        if shrunk {
            // Down at once.
            if self
                .climbed
                .is_some_and(|at| now.saturating_sub(at) < RELAPSE)
            {
                self.hold_factor = (self.hold_factor * 2).min(MAX_HOLD / HOLD_UP);
            }
            self.climbed = None;
            self.enough_since = None;
            self.target = fits.map(|layer| layer.track);
            self.asked = None;
        }
        let shown = self.rate_of(self.current);
        if self.current.is_some()
            && self.current != self.target
            && (self.target.is_none()
                || shown + self.audio_rate > estimate * (100 + OVERLOAD_PERCENT) / 100)
        {
            self.current = None;
            return Some(Action::DropVideo);
        }
        if shrunk {
            return None;
        }
        if self
            .climbed
            .is_some_and(|at| now.saturating_sub(at) >= RELAPSE)
        {
            (self.climbed, self.hold_factor) = (None, 1); // it held
        }
        let roomy = estimate * 100 / (100 + HEADROOM_PERCENT);
        let better = self
            .fitting(roomy)
            .filter(|layer| self.target.is_none() || layer.rate > aim);
        let Some(better) = better else {
            self.enough_since = None;
            return None;
        };
        let since = match self.enough_since {
            // A still better one does not start the wait anew.
            Some((track, since)) if self.rate_of(Some(track)) <= better.rate => since,
            _ => now,
        };
        self.enough_since = Some((better.track, since));
        if now.saturating_sub(since) >= self.hold() {
            self.enough_since = None;
            self.target = Some(better.track);
            self.climbed = Some(now);
            self.asked = None;
        }
        None
    }

    fn hold(&self) -> u64 {
        if self.target.is_none() {
            HOLD_RETURN
        } else {
            HOLD_UP * self.hold_factor
        }
    }

    /// What was being sent had to be interrupted: it goes on at the first keyframe of the target that
    /// comes at `until` or later.
    pub fn interrupt(&mut self, until: u64) {
        self.current = None;
        self.asked = None;
        self.paused = until;
    }

    /// Whether the picture is kept back at this time.
    pub fn paused(&self, now: u64) -> bool {
        now < self.paused
    }

    /// A keyframe of a track begins: what becomes of the picture?
    pub fn keyframe(&mut self, track: u8, now: u64) -> Option<Action> {
        if self.target != Some(track) || self.current == Some(track) || now < self.paused {
            return None;
        }
        self.current = Some(track);
        self.asked = None;
        if self.climbed.is_some() {
            self.climbed = Some(now);
        }
        Some(Action::Switch(track))
    }

    /// When [`Chooser::poll`] may have something to say without a new estimate.
    pub fn due(&self) -> Option<u64> {
        let hold = self.enough_since.map(|(_, since)| since + self.hold());
        let ask = (self.target.is_some() && self.target != self.current)
            .then(|| self.asked.map_or(self.paused, |asked| asked + ASK_AGAIN));
        hold.into_iter().chain(ask).min()
    }

    fn rate_of(&self, track: Option<u8>) -> u64 {
        self.layers
            .iter()
            .find(|layer| Some(layer.track) == track)
            .map_or(0, |layer| layer.rate)
    }

    fn allowed(&self) -> &[Layer] {
        let end = self
            .limit
            .and_then(|limit| self.layers.iter().position(|layer| layer.track == limit))
            .map_or(self.layers.len(), |at| at + 1);
        &self.layers[..end]
    }

    fn fitting(&self, estimate: u64) -> Option<Layer> {
        self.allowed()
            .iter()
            .rev()
            .find(|layer| layer.rate.saturating_add(self.audio_rate) <= estimate)
            .copied()
    }
}
