//! Usage and budgets, promise by promise.

use super::tasks::{claim, finish, ready, rig, token};
use super::*;

fn spent(tokens_in: u64, cost_micros: u64) -> Option<Spent> {
    Some(Spent {
        tokens_in,
        cost_micros,
        ..Spent::default()
    })
}

fn update(task: TaskId, fence: Fence, usage: Option<Spent>) -> Body {
    Body::Task(TaskCommand::Update(Update {
        task,
        fence,
        caller: token("a"),
        progress: None,
        note: None,
        checkpoint: None,
        stealable: None,
        usage,
    }))
}

fn tokens(limit: u64) -> BudgetLimits {
    BudgetLimits {
        tokens: Some(limit),
        ..BudgetLimits::default()
    }
}

fn queue(name: &str) -> AccountName {
    AccountName::Queue(name.into())
}

fn waiting(caller: Caller, name: &str) -> Body {
    Body::Task(TaskCommand::Claim(Claim {
        which: Which::Ready {
            kinds: Vec::new(),
            limit: 1,
        },
        caller,
        wants: Wants {
            queue: Some(name.into()),
            wait_ms: Some(60_000),
            ..Wants::default()
        },
    }))
}

impl Rig {
    fn budget(&mut self, command: BudgetCommand) {
        let set = self.run(Body::Budget(command));
        assert!(matches!(set, Outcome::Set { .. }), "{set:?}");
    }

    fn set_budget(&mut self, account: AccountName, limits: BudgetLimits) {
        self.budget(BudgetCommand::Set { account, limits });
    }

    fn account(&self, name: &AccountName) -> Account {
        let project = self.colony.project("p").expect("it is there");
        project.accounts().get(name).copied().unwrap_or_default()
    }

    fn add_to(&mut self, name: &str) -> TaskId {
        let task = NewTask {
            title: "work".into(),
            terms: Terms {
                queue: name.into(),
                ..Terms::default()
            },
            ..NewTask::default()
        };
        self.add(vec![task])[0]
    }

    /// What was told of budgets, in short.
    fn told(&self) -> Vec<String> {
        let events = self.colony.project("p").expect("it is there").events().iter();
        let told = events.filter_map(|event| match &event.what {
            What::BudgetWarned {
                budget,
                field,
                used,
                limit,
            } => Some(format!("{budget} warned {field} {used}/{limit}")),
            What::BudgetSpent {
                budget,
                field,
                used,
                limit,
            } => Some(format!("{budget} spent {field} {used}/{limit}")),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn what_attempts_use_is_summed_for_each_the_task_its_queue_its_agents_and_the_project() {
    let mut rig = rig();
    let task = rig.add_to("builds");
    let fence = rig.claim_one(task, token("a"));
    rig.now_ms = 1_000;
    rig.run(update(task, fence, spent(10, 5)));
    rig.now_ms = 2_500;
    let failed = Finish {
        ending: Ending::Failed,
        with: FinishWith {
            failure: Some(Failure {
                retryable: true,
                class: None,
                message: "broken".into(),
            }),
            usage: Some(Spent {
                tokens_out: 7,
                ..Spent::default()
            }),
            ..FinishWith::default()
        },
        ..finish(task, fence, token("a"))
    };
    rig.finish(failed);
    // Nobody holds it meanwhile: that time is nobody's.
    rig.now_ms = 100_000;
    rig.empty_round();
    let second = rig.claim_one(task, token("b"));
    rig.now_ms = 100_400;
    let late = rig.refused(update(task, fence, spent(1_000, 1_000)));
    assert!(matches!(late, Refusal::Fenced { .. }), "{late:?}");
    rig.finish(finish(task, second, token("b")));
    let found = rig.tasks().get(task).unwrap().clone();
    let first = Usage {
        tokens_in: 10,
        tokens_out: 7,
        cost_micros: 5,
        time_ms: 2_500,
    };
    let last = Usage {
        time_ms: 400,
        ..Usage::default()
    };
    assert_eq!(found.history[0].usage, first);
    assert!(matches!(&found.state, State::Finished(finished) if finished.usage == last));
    assert_eq!(found.usage, first + last);
    let usage = |rig: &Rig, name: AccountName| rig.account(&name).usage;
    assert_eq!(usage(&rig, AccountName::Project), first + last);
    assert_eq!(usage(&rig, queue("builds")), first + last);
    assert_eq!(usage(&rig, AccountName::Agent("a".into())), first);
    assert_eq!(usage(&rig, AccountName::Agent("b".into())), last);
}

#[test]
fn a_budget_warns_once_then_keeps_all_tasks_and_hands_them_out_when_it_is_raised() {
    let mut rig = rig();
    let tasks = [rig.add_one(), rig.add_one(), rig.add_one()];
    rig.set_budget(AccountName::Project, tokens(100));
    let fence = rig.claim_one(tasks[0], token("a"));
    for (used, told) in [(79, 0), (1, 1), (19, 1), (1, 2), (50, 2)] {
        rig.run(update(tasks[0], fence, spent(used, 0)));
        assert_eq!(rig.told().len(), told, "{used}: {:?}", rig.told());
    }
    assert_eq!(
        rig.told(),
        ["project warned tokens 80/100", "project spent tokens 100/100"]
    );
    assert_eq!(rig.claimed(ready(token("b"), 1)), []);
    let named = rig.refused(claim(Which::Ids(vec![tasks[1]]), token("b")));
    let why = "task 4-0 is pending: it waits for budget project (tokens 150 of 100)";
    assert_eq!(named.to_string(), why.replace("4-0", &tasks[1].to_string()));
    let waits = rig.run(waiting(token("b"), QUEUE_DEFAULT));
    assert!(matches!(waits, Outcome::Waiting { .. }), "{waits:?}");
    // Nothing is looked at again and again, and a task that comes is kept too.
    let added = rig.add_one();
    let owes_ms = |rig: &Rig| rig.tasks().queue(QUEUE_DEFAULT).unwrap().owes_ms();
    assert_eq!((owes_ms(&rig), rig.state(added)), (None, StateName::Pending));
    rig.set_budget(AccountName::Project, tokens(150));
    assert_eq!(rig.state(tasks[1]), StateName::Pending, "it is reached already");
    rig.set_budget(AccountName::Project, tokens(200));
    assert_eq!(rig.state(tasks[1]), StateName::Leased, "who waited has it");
    assert_eq!(rig.told()[2..], ["project spent tokens 150/150"]);
    rig.run(update(tasks[0], fence, spent(10, 0)));
    assert_eq!(rig.told()[3..], ["project warned tokens 160/200"]);
    assert_eq!(rig.claimed(ready(token("a"), 1))[0].task, tasks[2]);
}

#[test]
fn a_budget_of_a_queue_keeps_its_tasks_only_and_one_that_is_reset_or_removed_none() {
    let mut rig = rig();
    let (here, there) = (rig.add_to("builds"), rig.add_to("docs"));
    let fence = rig.claim_one(here, token("a"));
    // What was used before does not count.
    rig.run(update(here, fence, spent(500, 0)));
    rig.set_budget(queue("builds"), tokens(10));
    rig.run(update(here, fence, spent(9, 0)));
    assert_eq!(rig.told(), ["queue:builds warned tokens 9/10"]);
    rig.finish(Finish {
        with: FinishWith {
            usage: spent(3, 0),
            ..FinishWith::default()
        },
        ending: Ending::Released,
        ..finish(here, fence, token("a"))
    });
    assert_eq!(rig.told()[1..], ["queue:builds spent tokens 12/10"]);
    rig.run(waiting(token("a"), "builds"));
    rig.run(waiting(token("b"), "docs"));
    assert_eq!(
        (rig.state(here), rig.state(there)),
        (StateName::Pending, StateName::Leased)
    );
    rig.budget(BudgetCommand::Reset {
        account: queue("builds"),
    });
    assert_eq!(rig.state(here), StateName::Leased);
    assert_eq!(rig.account(&queue("builds")).counted().unwrap().tokens_in, 0);
    assert_eq!(rig.account(&queue("builds")).usage.tokens_in, 512);
    rig.set_budget(AccountName::Project, tokens(1));
    let State::Leased(lease) = rig.tasks().get(there).unwrap().state.clone() else {
        panic!("b has it");
    };
    let done = Finish {
        with: FinishWith {
            usage: spent(1, 0),
            ..FinishWith::default()
        },
        ..finish(there, lease.fence, token("b"))
    };
    rig.finish(done);
    let next = rig.add_to("docs");
    rig.run(waiting(token("b"), "docs"));
    assert_eq!(rig.state(next), StateName::Pending);
    let remove = BudgetCommand::Remove {
        account: AccountName::Project,
    };
    rig.budget(remove.clone());
    assert_eq!(rig.state(next), StateName::Leased);
    let gone = rig.refused(Body::Budget(remove));
    assert_eq!(gone.to_string(), r#"the project has no budget "project""#);
}

#[test]
fn the_time_of_a_silent_attempt_counts_when_its_lease_ends_and_an_offer_not_taken_never_does() {
    let mut rig = rig();
    let task = rig.add_one();
    let time = BudgetLimits {
        time_ms: Some(5_000),
        ..BudgetLimits::default()
    };
    rig.set_budget(AccountName::Project, time);
    rig.claim_one(task, token("a"));
    rig.now_ms = 6_000;
    assert_eq!(rig.account(&AccountName::Project).usage.time_ms, 0);
    let cancel = Act::Cancel {
        force: true,
        reason: None,
    };
    rig.run(Body::Task(TaskCommand::Control(Control { task, act: cancel })));
    assert_eq!(rig.account(&AccountName::Project).usage.time_ms, 6_000);
    assert_eq!(rig.told(), ["project spent time_ms 6000/5000"]);
    rig.budget(BudgetCommand::Remove {
        account: AccountName::Project,
    });
    rig.run(waiting(token("b"), QUEUE_DEFAULT));
    let offered = rig.add_one();
    assert_eq!(rig.state(offered), StateName::Leased);
    rig.now_ms += OFFER_MS;
    rig.empty_round();
    assert_eq!(rig.state(offered), StateName::Pending);
    assert_eq!(rig.account(&AccountName::Project).usage.time_ms, 6_000);
    assert!(rig.tasks().get(offered).unwrap().usage.is_nothing());
}

#[test]
fn what_is_out_of_bounds_is_refused_and_sums_do_not_overflow() {
    let mut rig = rig();
    let task = rig.add_one();
    let fence = rig.claim_one(task, token("a"));
    let over = rig.refused(update(task, fence, spent(0, USAGE_MAX + 1)));
    assert_eq!(
        over.to_string(),
        format!("usage.cost_micros: {} is over the limit of {USAGE_MAX}", USAGE_MAX + 1)
    );
    let mut refused = |account, limits| {
        let set = Body::Budget(BudgetCommand::Set { account, limits });
        rig.refused(set).to_string()
    };
    let none = refused(AccountName::Project, BudgetLimits::default());
    assert_eq!(none, "limits: bound none of tokens, cost_micros, time_ms");
    assert_eq!(
        refused(AccountName::Project, tokens(0)),
        "tokens: 0 is under the least, 1"
    );
    let agent = refused(AccountName::Agent("a".into()), tokens(1));
    assert_eq!(agent, "budget: is neither project nor queue:NAME");
    let accounts = &mut rig.colony.projects.get_mut("p").unwrap().accounts;
    let usage = Usage {
        tokens_in: u64::MAX - 1,
        ..Usage::default()
    };
    let account = Account { usage, budget: None };
    accounts.set(&AccountName::Project, Some(account));
    rig.run(update(task, fence, spent(USAGE_MAX, 0)));
    assert_eq!(rig.account(&AccountName::Project).usage.tokens_in, u64::MAX);
}

#[test]
fn what_finds_no_place_among_the_accounts_is_summed_in_the_rest() {
    let mut rig = rig();
    let task = rig.add_one();
    let fence = rig.claim_one(task, token("a"));
    let accounts = &mut rig.colony.projects.get_mut("p").unwrap().accounts;
    let usage = Usage {
        time_ms: 1,
        ..Usage::default()
    };
    for number in 0..ACCOUNTS_MAX {
        let name = AccountName::Agent(format!("n{number}").into());
        accounts.set(&name, Some(Account { usage, budget: None }));
    }
    rig.run(update(task, fence, spent(5, 0)));
    let used = |rig: &Rig, name| rig.account(&name).usage.tokens_in;
    assert_eq!(
        (used(&rig, AccountName::Project), used(&rig, AccountName::Rest)),
        (5, 5)
    );
    assert_eq!(used(&rig, AccountName::Agent("a".into())), 0);
    let account = queue("one-more");
    let set = Body::Budget(BudgetCommand::Set {
        account,
        limits: tokens(1),
    });
    assert_eq!(rig.refused(set).to_string(), "accounts: 4097 is over the limit of 4096");
}
