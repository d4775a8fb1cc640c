//! Questions between agents, of one node and of two, and the accounts of those who ask and answer.

use queenright_protocol::topology;
use queenright_protocol::wire::{Envelope, Kind};

use super::*;
use crate::body::decode;
use crate::router::tests::{Rig as Net, number};
use crate::router::{Loss, Notice, Services};

/// How long a question may take that has an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn ask(context: &AgentContext, to: AgentAddress) -> Result<Step, BehaviourError> {
    let came = match context.ask(to, b"ping", PATIENCE).await {
        Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => error.to_string(),
    };
    context.report("came", came);
    Ok(Step::Wait)
}

pub(super) fn answer(context: &AgentContext, signals: &[Signal]) -> Result<Step, BehaviourError> {
    for signal in signals {
        let answered = context.answer(signal, &signal.payload);
        answered.map_err(|error| BehaviourError(error.to_string()))?;
    }
    Ok(Step::Wait)
}

/// Takes what comes for the agents of a node.
struct Taking(Arc<Signals>);

impl Services for Taking {
    fn receive(&self, envelope: Envelope) {
        match envelope.kind {
            Kind::Unreachable => self.0.lost_on_the_way(&decode::<Notice>(&envelope.body).unwrap()),
            _ => self.0.answered(envelope),
        }
    }

    fn signals(&self, signals: Vec<Envelope>) {
        self.0.arrived(signals);
    }

    fn topics(&self, _: Vec<Envelope>) {}
}

/// Two leaves of a star, with the hub between them: who asks is at the first, who answers at the second.
struct Two {
    net: Net,
    asker: Rig,
    other: Rig,
}

impl Two {
    async fn new(answers: &[Act]) -> Two {
        let made = Mutex::new(Vec::new());
        let net = Net::serving(topology::Kind::Star, 3, |_, router| {
            let signals = Arc::new(Signals::new(router.clone()));
            made.lock().unwrap().push(signals.clone());
            Arc::new(Taking(signals))
        });
        let signals = made.into_inner().unwrap();
        let on = async |place: usize, acts: &[Act]| {
            let topics = Arc::new(Topics::alone());
            Rig::on(number(place), signals[place].clone(), topics, acts).await
        };
        let (asker, other) = (on(1, &[]).await, on(2, answers).await);
        Two { net, asker, other }
    }

    /// Asks an agent of the other node, and says what came.
    async fn ask(&self, to: AgentAddress) -> String {
        *self.asker.script.lock().unwrap() = vec![Act::Ask(to)];
        self.asker.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
        let came = async {
            loop {
                self.net.settle();
                if let Some(came) = self.asker.agents.status("a").unwrap().report.get("came") {
                    return came.as_str().unwrap().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE * 2, came).await.expect("something comes");
        self.asker.stop("a").await.unwrap();
        self.asker.until_state(AgentState::Stopped).await;
        came
    }
}

/// The account of the agent `a` of a rig with one of another node.
fn account(rig: &Rig, other: AgentAddress) -> Option<PairCounts> {
    let accounts = rig.agents.status("a").unwrap().accounts.unwrap();
    let mut pairs = accounts.pairs.iter();
    let pair = pairs.find(|pair| (pair.node, pair.number) == (other.node, other.number));
    pair.map(|pair| pair.counts)
}

#[tokio::test]
async fn a_question_is_answered_and_both_ends_have_it_in_their_accounts() {
    let two = Two::new(&[Act::Answer]).await;
    let answering = two.other.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let to = two.other.address(&answering);
    assert_eq!(two.ask(to).await, "ping");
    let asking = two.asker.address(&two.asker.agents.status("a").unwrap());
    let once = PairCounts {
        sent: 1,
        delivered: 1,
        ..PairCounts::default()
    };
    assert_eq!(account(&two.asker, to), Some(once));
    assert_eq!(account(&two.other, asking), Some(once));
    for rig in [&two.asker, &two.other] {
        let counts = rig.signals.counts();
        assert_eq!((counts.sent, counts.delivered, counts.lost), (1, 1, 0));
    }
}

#[tokio::test]
async fn a_question_to_nobody_fails_at_once_here_and_elsewhere() {
    let two = Two::new(&[]).await;
    for node in [1, 2] {
        let to = AgentAddress {
            node: number(node),
            number: 99,
            generation: 1,
        };
        let came = two.ask(to).await;
        assert_eq!(came, TellError::Unknown { to }.to_string());
    }
    assert_eq!(
        two.other.signals.counts().lost,
        1,
        "it is lost where it was not delivered"
    );
}

#[tokio::test]
async fn who_asks_is_told_when_the_question_or_its_answer_is_lost_on_the_way() {
    let two = Two::new(&[Act::Answer]).await;
    let answering = two.other.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let to = two.other.address(&answering);
    let lost = AskError::Lost { to, loss: Loss::Busy }.to_string();
    // From the hub to the one, then from the hub to the other.
    for (way, read) in [(2, 0), (1, 1)] {
        two.net.fill(0, way, true);
        assert_eq!(two.ask(to).await, lost, "{way}");
        two.net.fill(0, way, false);
        assert_eq!(two.other.signals.counts().delivered, read);
    }
    assert_eq!(two.net.sum(|counts| counts.signals_lost), 2);
}

#[tokio::test]
async fn a_question_without_an_answer_ends_at_its_deadline_and_a_late_answer_is_nobodys() {
    let rig = Rig::new(&[Act::Wait]).await;
    let status = rig.spawn(spec(RestartKind::Transient, 5, 0)).await.unwrap();
    let (to, entry) = (rig.address(&status), rig.signals.entry(status.number).unwrap());
    let asker = entry.present().as_ref().unwrap().clone();
    let asked = rig
        .signals
        .ask((to, &asker), to, b"ping", Duration::from_millis(1))
        .await;
    assert_eq!(asked, Err(AskError::Timeout { to, waited_ms: 1 }));
    let question = Signal {
        from: to,
        payload: bytes::Bytes::new(),
        question: 1,
    };
    rig.signals.answer(to, &question, b"pong").unwrap();
    let counts = rig.signals.counts();
    assert_eq!((counts.sent, counts.delivered, counts.lost, counts.late), (2, 1, 1, 1));
    let told = Signal {
        question: 0,
        ..question
    };
    assert_eq!(rig.signals.answer(to, &told, b"pong"), Err(TellError::NotAsked { to }));
}

#[tokio::test]
async fn what_is_refused_and_what_is_never_read_stands_in_the_accounts() {
    let two = Two::new(&[Act::PanicWhenTold]).await;
    let told = two.other.spawn(spec(RestartKind::Temporary, 5, 0)).await.unwrap();
    let (to, from) = (
        two.other.address(&told),
        AgentAddress {
            node: number(1),
            number: 5,
            generation: 1,
        },
    );
    // On one thread: the agent has no turn before all of them wait.
    for _ in 0..10 {
        two.asker.signals.tell(from, to, b"hello").unwrap();
    }
    two.net.settle();
    two.other.until_state(AgentState::Failed).await;
    let expected = PairCounts {
        delivered: 1,
        lost: 9,
        ..PairCounts::default()
    };
    assert_eq!(account(&two.other, from), Some(expected));
}
