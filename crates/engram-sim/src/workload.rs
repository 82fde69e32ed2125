//! Random requests over few spaces, ids, words and keys, so that they meet. Some are refused on purpose.

use engram::{
    DecayLaw, Embedder, Language, Link, MemoryId, MemoryKind, NewMemory, Outcome, SpaceName, SpaceSettings,
    Timestamp,
};
use fastrand::Rng;

/// Numbers a vector; some vectors have one more, to be refused.
const DIMENSIONS: usize = 3;
const WORDS: [&str; 8] = ["rain", "snow", "Bath", "Anna", "river", "walked", "tea", "station"];

/// What happens next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Request(Box<Request>),
    /// Background work: indexing and checkpoints.
    WorkOff,
    /// Closes the engine and opens it again.
    Reopen,
    /// Recalls in one space.
    Look(SpaceName),
    /// Takes a backup while other steps are done, and removes older ones.
    BackUp {
        meanwhile: Vec<Step>,
        keep: Option<usize>,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Request {
    Store(Store),
    Patch {
        space: SpaceName,
        id: MemoryId,
        patch: NewMemory,
    },
    Delete {
        space: SpaceName,
        id: MemoryId,
    },
    /// Those in a context, of these ids where given.
    DeleteMatching {
        space: SpaceName,
        ids: Option<Vec<MemoryId>>,
        context: String,
    },
    Link {
        space: SpaceName,
        from: MemoryId,
        link: Link,
    },
    Unlink {
        space: SpaceName,
        from: MemoryId,
        to: MemoryId,
        kind: String,
    },
    Reinforce {
        space: SpaceName,
        ids: Vec<MemoryId>,
        outcome: Outcome,
    },
    Settings(Settings),
    Consolidate {
        space: SpaceName,
    },
    DeleteSpace {
        space: SpaceName,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) space: SpaceName,
    pub(crate) memories: Vec<NewMemory>,
    pub(crate) replace: bool,
    pub(crate) key: Option<String>,
}

/// Settings to change; the others stay.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) space: SpaceName,
    embedder: Option<Embedder>,
    decay: DecayLaw,
    language: Option<Language>,
    memories_max: Option<u64>,
}

impl Settings {
    pub(crate) fn laid_over(&self, settings: SpaceSettings) -> SpaceSettings {
        SpaceSettings {
            embedder: self.embedder.or(settings.embedder),
            decay: self.decay,
            language: self.language.unwrap_or(settings.language),
            memories_max: self.memories_max,
            ..settings
        }
    }
}

impl Request {
    pub(crate) fn space(&self) -> &SpaceName {
        match self {
            Self::Store(Store { space, .. }) | Self::Settings(Settings { space, .. }) => space,
            Self::Patch { space, .. }
            | Self::Delete { space, .. }
            | Self::DeleteMatching { space, .. }
            | Self::Link { space, .. }
            | Self::Unlink { space, .. }
            | Self::Reinforce { space, .. }
            | Self::Consolidate { space }
            | Self::DeleteSpace { space } => space,
        }
    }
}

/// Makes steps.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    rng: Rng,
    spaces: Vec<SpaceName>,
    /// Whether requests carry idempotency keys.
    keyed: bool,
    ids: u32,
    /// Whether much recurs, so that there is something to consolidate.
    recurs: bool,
    /// Of 100 steps.
    backups: u32,
}

impl Workload {
    pub(crate) fn new(seed: u64, keyed: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let spaces = ["a", "A", "other-space"];
        let spaces = spaces[..rng.usize(1..=3)].iter();
        let spaces = spaces.map(|name| SpaceName::new(name).expect("a valid name")).collect();
        let recurs = rng.bool();
        let ids = if recurs { 9 } else { rng.u32(3..=9) };
        Self { ids, rng, spaces, keyed, recurs, backups: 3 }
    }

    /// The same with many more backups.
    pub(crate) fn backing_up(self) -> Self {
        Self { backups: 25, ..self }
    }

    /// The next `count` steps.
    pub(crate) fn steps(&mut self, count: usize) -> Vec<Step> {
        (0..count).map(|_| self.step()).collect()
    }

    fn step(&mut self) -> Step {
        if self.rng.u32(0..100) < self.backups {
            let keep = (self.rng.u32(0..3) == 0).then(|| self.rng.usize(1..4));
            let steps = self.rng.usize(0..16);
            return Step::BackUp { meanwhile: (0..steps).map(|_| self.step_beside()).collect(), keep };
        }
        let space = self.space();
        match self.rng.u32(0..100) {
            0..=14 => Step::WorkOff,
            15..=17 => Step::Reopen,
            18..=22 => Step::Look(space),
            _ => Step::Request(Box::new(self.request(space))),
        }
    }

    /// What may happen while a backup is taken.
    fn step_beside(&mut self) -> Step {
        let space = self.space();
        match self.rng.u32(0..4) {
            0 => Step::WorkOff,
            1 => Step::Look(space),
            _ => Step::Request(Box::new(self.request(space))),
        }
    }

    /// A write to `space`.
    pub(crate) fn request(&mut self, space: SpaceName) -> Request {
        match self.rng.u32(0..100) {
            0..=19 if self.recurs => Request::Store(self.recurring(space)),
            20..=39 if self.recurs => Request::Consolidate { space },
            0..=45 => Request::Store(self.store(space)),
            46..=51 => {
                let ids = (0..self.rng.usize(1..3)).map(|_| self.id()).collect();
                let outcome = if self.rng.bool() { Outcome::Used } else { Outcome::Contradicted };
                Request::Reinforce { space, ids, outcome }
            }
            52..=61 => {
                let patch = NewMemory { id: None, ..self.memory() };
                Request::Patch { space, id: self.id(), patch }
            }
            62..=73 => Request::Delete { space, id: self.id() },
            74..=76 => {
                let ids = self.rng.bool().then(|| (0..3).map(|_| self.id()).collect());
                Request::DeleteMatching { space, ids, context: self.context() }
            }
            77..=86 => Request::Link { space, from: self.id(), link: self.link() },
            87..=90 => {
                let Link { to, kind, .. } = self.link();
                Request::Unlink { space, from: self.id(), to, kind }
            }
            91..=93 => Request::Settings(self.settings(space)),
            94..=96 => Request::Consolidate { space },
            _ => Request::DeleteSpace { space },
        }
    }

    pub(crate) fn space(&mut self) -> SpaceName {
        self.spaces[self.rng.usize(..self.spaces.len())].clone()
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn store(&mut self, space: SpaceName) -> Store {
        let count = if self.rng.u32(0..4) == 0 { self.rng.usize(2..5) } else { 1 };
        let mut memories: Vec<NewMemory> = (0..count).map(|_| self.memory()).collect();
        let mut key = None;
        if self.keyed && self.rng.u32(0..5) == 0 {
            let number = self.rng.u32(0..4);
            key = Some(format!("key {number}"));
            // Mostly the same request with the same key.
            if self.rng.u32(0..4) > 0 {
                let mut fixed = Self { rng: Rng::with_seed(u64::from(number)), ..self.clone() };
                memories = vec![fixed.memory()];
            }
        }
        Store { space, memories, replace: self.rng.u32(0..3) == 0, key }
    }

    /// Two events, each told three times, by vectors or by texts.
    fn recurring(&mut self, space: SpaceName) -> Store {
        let by_vector = self.rng.u32(0..3) > 0;
        let first = self.rng.u32(0..self.ids);
        let memory = |at: u32, rng: &mut Rng| {
            let axis = (at % 2) as usize;
            let along = |number| if number == axis { 2.0 } else { 0.0 };
            let number = |at| along(at) + 0.3 * rng.f32() + 0.01;
            let text = ["Anna walked in the rain", "We had tea at the station"][axis];
            NewMemory {
                id: MemoryId::new(&format!("m{}", (first + at) % 9)).ok(),
                embedding: by_vector.then(|| (0..DIMENSIONS).map(number).collect()),
                content: Some(format!("{text} {}", WORDS[at as usize])),
                occurred_at: Some(Timestamp(i64::from(at))),
                ..NewMemory::default()
            }
        };
        let memories = (0..6).map(|at| memory(at, &mut self.rng)).collect();
        Store { space, memories, replace: true, key: None }
    }

    fn memory(&mut self) -> NewMemory {
        let embedding = (self.rng.u32(0..3) > 0).then(|| {
            let numbers = DIMENSIONS + usize::from(self.rng.u32(0..40) == 0);
            (0..numbers).map(|_| self.rng.f32() + 0.01).collect()
        });
        let content = match self.rng.u32(0..50) {
            0 => Some(" ".to_string()),
            1..=5 => None,
            6 => Some("rain ".repeat(400)),
            _ => Some(self.text()),
        };
        let once = |rng: &mut Rng| rng.u32(0..4) == 0;
        NewMemory {
            id: Some(self.id()),
            content,
            embedding,
            occurred_at: once(&mut self.rng).then(|| Timestamp(self.rng.i64(0..3))),
            context: self.rng.bool().then(|| self.context()),
            entities: once(&mut self.rng).then(|| vec![self.text()]),
            links: once(&mut self.rng).then(|| vec![self.link()]),
            confidence: once(&mut self.rng).then(|| self.rng.f32()),
            metadata: once(&mut self.rng).then(|| {
                let value = serde_json::Value::from(self.rng.u32(0..3));
                serde_json::Map::from_iter([("n".to_string(), value)])
            }),
            kind: once(&mut self.rng).then_some(MemoryKind::Concept),
            expires_at: once(&mut self.rng).then(|| Timestamp(self.rng.i64(0..100) * 1_000_000)),
        }
    }

    fn settings(&mut self, space: SpaceName) -> Settings {
        let rng = &mut self.rng;
        let embedder = match rng.u32(0..8) {
            0 => Some(Embedder::None),
            1 => Some(Embedder::BUILTIN),
            2..=4 => Some(Embedder::Caller { dimensions: DIMENSIONS }),
            _ => None,
        };
        let language = match rng.u32(0..4) {
            0 => Some(Language::None),
            1 => Some(Language::Auto),
            _ => None,
        };
        let decay = [DecayLaw::None, DecayLaw::Fsrs6, DecayLaw::ActR][rng.usize(..3)];
        let memories_max = (rng.u32(0..3) == 0).then(|| rng.u64(2..8));
        Settings { space, embedder, decay, language, memories_max }
    }

    pub(crate) fn text(&mut self) -> String {
        let words = self.rng.usize(1..6);
        (0..words).map(|_| WORDS[self.rng.usize(..WORDS.len())]).collect::<Vec<_>>().join(" ")
    }

    fn id(&mut self) -> MemoryId {
        MemoryId::new(&format!("m{}", self.rng.u32(0..self.ids))).expect("a valid id")
    }

    fn context(&mut self) -> String {
        format!("context {}", self.rng.u32(0..2))
    }

    fn link(&mut self) -> Link {
        let kind = if self.rng.bool() { "next" } else { "supersedes" }.to_string();
        Link { to: self.id(), kind, weight: self.rng.u32(1..=4) as f32 / 4.0 }
    }
}
