//! Rates and the commands about them.

use super::*;

impl Seeded {
    /// What a task takes: most often of rates that are there, and no more than they hold.
    pub(super) fn tokens(&mut self, project: &Project) -> Vec<Tokens> {
        if self.once_in(40) {
            let count = self.pick(&[0, 1, 1_000_001]);
            let rate = self.pick(&["r1", "r=1", "", "none"]).into();
            return vec![Tokens { rate, count }];
        }
        if self.once_in(2) {
            return Vec::new();
        }
        let mut tokens: Vec<Tokens> = Vec::new();
        for (rate, state) in project.rates().iter() {
            if !self.once_in(3) {
                let burst = u64::from(state.settings().burst.min(3));
                let count = 1 + self.below(burst) as u32;
                let rate = rate.clone();
                tokens.push(Tokens { rate, count });
            }
        }
        if self.once_in(30) {
            tokens.reverse();
        }
        if self.once_in(30) {
            tokens.iter_mut().for_each(|tokens| tokens.count += 2);
        }
        tokens
    }

    /// Tasks that take tokens, and claims of them: most are as they should be.
    pub(super) fn with_tokens(&mut self, colony: &Colony, (name, project): (&str, &Project)) -> Body {
        if self.once_in(10) || project.rates().is_empty() {
            return Body::Rate(self.rate_command());
        }
        if self.once_in(3) {
            let task = |seeded: &mut Seeded| NewTask {
                title: "work".into(),
                terms: Terms {
                    queue: seeded.pick(&["default", "default", "q2"]).into(),
                    priority: seeded.pick(&[Priority::High, Priority::Normal]),
                    rates: seeded.tokens(project),
                    ..Terms::default()
                },
                ..NewTask::default()
            };
            let tasks = (0..1 + self.below(3)).map(|_| task(self)).collect();
            return Body::Task(TaskCommand::Add(tasks));
        }
        let caller = match self.session(colony, Some(name)) {
            Some(session) if !self.once_in(4) => Caller::Session(session.opened.token),
            _ => Caller::Opens(Box::new(self.new_session())),
        };
        let which = match self.once_in(3) {
            true => Which::Ids(vec![self.task_id(project, StateName::Pending)]),
            false => Which::Ready {
                kinds: Vec::new(),
                limit: self.pick(&[1, 1, 2]),
            },
        };
        let waits = matches!(which, Which::Ready { .. });
        Body::Task(TaskCommand::Claim(Claim {
            which,
            caller,
            wants: Wants {
                queue: waits.then(|| self.pick(&["default", "default", "q2"]).into()),
                wait_ms: Some(60_000).filter(|_| waits && !self.once_in(3)),
                ..Wants::default()
            },
        }))
    }

    pub(super) fn rate_command(&mut self) -> RateCommand {
        let name: Arc<str> = match self.once_in(12) {
            true => self.pick(&["", "a=b", "none"]),
            false => self.pick(&["r1", "r2"]),
        }
        .into();
        if self.once_in(8) {
            return RateCommand::Delete { name };
        }
        let settings = RateSettings {
            tokens: self.pick(&[1, 1, 2, 3, 7]),
            interval_ms: self.pick(&[5_000, 1_000, 1_000, 300, 7]),
            burst: self.pick(&[1, 2, 3, 3]),
        };
        let settings = match self.below(30) {
            0 => RateSettings { tokens: 0, ..settings },
            1 => RateSettings {
                burst: RATE_TOKENS_MAX + 1,
                ..settings
            },
            2 => RateSettings {
                interval_ms: RATE_INTERVAL_MS.1 + 1,
                ..settings
            },
            3 => RateSettings {
                interval_ms: 0,
                ..settings
            },
            _ => settings,
        };
        RateCommand::Set { name, settings }
    }
}
