//! Signing in, where it is offered: the same steps give the same answers through every door.

use platform::Role;
use serde_json::{Value, json};
use testkit::Member;
use totp_rs::{Builder, Secret, Totp};

use super::doors::Door;
use super::told::Told;
use super::{House, PATIENT, Street, differing};

/// What somebody is told at each step of signing in through the door of their house.
struct Visit<'a> {
    street: &'a Street,
    house: &'a House,
    member: Member,
    told: Vec<(&'static str, Told)>,
}

impl Visit<'_> {
    /// Asks for an operation of accounts and answers what was answered, which is nothing for a
    /// refusal.
    async fn ask(&mut self, step: &'static str, operation: &str, input: Value) -> Value {
        let served = &self.street.served;
        let catalog = served.system.system().catalog();
        let operation = catalog.operation("accounts", operation).expect("it is declared");
        let told = self.house.door.ask(served, &self.member, operation, &input).await;
        let answer = match &told {
            Told::Answer(answer) => answer.clone(),
            Told::Refusal { .. } => Value::Null,
        };
        self.told.push((step, told));
        answer
    }

    /// The code that a device shows `ahead` seconds from now.
    fn code(&self, device: &Totp, ahead: u64) -> String {
        let now = self.street.served.system.system().now().timestamp();
        device.generate(u64::try_from(now).expect("it is after 1970") + ahead).to_string()
    }

    async fn sign_in(&mut self) {
        let email =
            self.member.ask(accounts::GetMe::default()).await.expect("they are known").email;
        let with = |password: &str| {
            json!({
                "organisation": self.house.org_id, "email": email, "password": password,
                "kind": "app",
            })
        };
        let (right, wrong) = (with(PASSWORD), with("something else"));
        self.ask("a wrong password", "sign_in", wrong).await;
        let first = self.ask("the password", "sign_in", right.clone()).await;
        let with = |answer: &Value| json!({"refresh_token": answer["refresh_token"]});
        self.ask("the next token", "refresh", with(&first)).await;
        let again = self.ask("the same, as the answer was lost", "refresh", with(&first)).await;
        self.ask("the one after", "refresh", with(&again)).await;
        self.ask("the first once more", "refresh", with(&first)).await;
        self.ask("no site for passkeys", "begin_passkey_sign_in", json!({})).await;

        let own = json!({"password": PASSWORD});
        let device = self.ask("a second factor", "enrol_second_factor", own).await;
        let device = device_of(&device);
        let code = json!({"code": self.code(&device, 0)});
        self.ask("its first code", "confirm_second_factor", code.clone()).await;
        let challenged = self.ask("the password again", "sign_in", right).await;
        // A code is good once, and one that comes early is good too.
        let next = self.code(&device, 30);
        let answer = |code: &str| json!({"challenge": challenged["challenge"], "code": code});
        let (used, next) = (answer(code["code"].as_str().unwrap_or_default()), answer(&next));
        self.ask("a used code", "answer_second_factor", used).await;
        self.ask("the next code", "answer_second_factor", next).await;

        let forgotten = json!({"organisation": self.house.org_id, "email": email});
        self.ask("a forgotten password", "request_password_reset", forgotten).await;
    }
}

const PASSWORD: &str = "a password nobody guesses";

fn device_of(answer: &Value) -> Totp {
    let secret = answer["secret"].as_str().and_then(|text| Secret::try_from_base32(text).ok());
    let device = Builder::new().with_secret(secret.expect("a device has one"));
    device.with_account_name("walker").build().expect("it is a device")
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_is_answered_the_same_through_every_door_that_has_it() {
    let street = Street::build(PATIENT).await;
    let system = street.served.system.system();
    let mut by_step: Vec<(&'static str, Vec<(Door, Told)>)> = Vec::new();
    let catalog = system.catalog();
    let sign_in = catalog.operation("accounts", "sign_in").expect("it is declared");

    for house in street.houses.iter().filter(|house| house.door.withholds(sign_in).is_none()) {
        let member = street.member(house, Role::Payroll);
        let user_id = member.scope().user_id().expect("a member is a user");
        let password = accounts::Password::new(PASSWORD);
        let given = accounts::give_password(system, house.org_id, user_id, password).await;
        given.expect("the password is kept");
        let mut visit = Visit { street: &street, house, member, told: Vec::new() };
        visit.sign_in().await;
        for (number, (step, told)) in visit.told.into_iter().enumerate() {
            if by_step.len() == number {
                by_step.push((step, Vec::new()));
            }
            by_step[number].1.push((house.door, told));
        }
    }

    for (step, told) in &by_step {
        assert_eq!(differing(step, told), None);
        let refused = told[0].1.code();
        let expected = match *step {
            "a wrong password" => "sign_in_refused",
            "the first once more" => "refresh_token_refused",
            "no site for passkeys" => "passkeys_off",
            "a used code" => "code_refused",
            _ => "(answered)",
        };
        assert_eq!(refused, expected, "{step}: {told:?}");
    }
    assert!(by_step.len() == 13 && by_step.iter().all(|(_, told)| told.len() == 3));
    street.served.system.stop().await;
}
