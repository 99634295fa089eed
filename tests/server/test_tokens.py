"""Logging in with OAuth 2.0 access tokens."""
import base64
import os

import mail
import proc
import servers
from case import Case, OfServer, without


LETTER = mail.message(1, "plain")


class TestTokens(OfServer, Case):
    timeout = 150

    @classmethod
    def make(cls):
        return servers.TokenDovecot()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.deliver("INBOX", LETTER.raw)

    def setUp(self):
        super().setUp()
        self.file = os.path.join(proc.workdir("token"), "token")

    def source(self, token, *options):
        """Of a command that prints this token and notes that it was run."""
        with open(self.file, "w") as file:
            file.write(f"{token}\n")
        source, own = self.server.source()
        command = f"tokencmd=echo run >>{self.file}.runs; cat {self.file}"
        return source, [*without(own, "passcmd"), command, *options]

    def runs(self):
        with open(f"{self.file}.runs") as file:
            return len(file.readlines())

    def mechanisms(self):
        return [word.rstrip(",") for word in self.server.log().split() if word.startswith("method=")]

    def check(self, token, mechanism, *options):
        """Mounts and reads; nothing of the token is to be seen anywhere."""
        before = len(self.mechanisms())
        trace = f"{self.file}.trace"
        mounted = self.mount(*self.source(token, f"trace={trace}", "debug", *options))
        (folder,) = mounted.messages("INBOX").values()
        self.assertEqual(mounted.text("INBOX", folder, "body.txt"), LETTER.text)
        self.assertEqual(set(self.mechanisms()[before:]), {f"method={mechanism}"})
        seen = mounted.process.output()
        with open(trace) as file:
            seen += file.read()
        self.assertIn("AUTHENTICATE", seen)
        for form in (token, base64.b64encode(token.encode()).decode()[:60]):
            self.assertNotIn(form[40:], seen)

    def test_oauthbearer(self):
        self.check(self.server.token(), "OAUTHBEARER")

    def test_xoauth2(self):
        self.check(self.server.token(), "XOAUTH2", "disable=AUTH=OAUTHBEARER")

    def test_long(self):
        """As Microsoft's, which are too long for an initial response."""
        self.check(self.server.token(groups=["x" * 60] * 50), "OAUTHBEARER")

    def test_a_new_one_for_each_connection(self):
        first = self.server.token()
        mounted = self.mount(*self.source(first, "poll=5"))
        runs = self.runs()
        self.server.stop()
        self.soon(lambda: "connection: online" not in mounted.status(), what="the loss")
        self.source(self.server.token())
        self.server.start()
        self.soon(lambda: "connection: online" in mounted.status(), what="the connection")
        self.assertGreater(self.runs(), runs)

    def test_refused(self):
        for token in (self.server.token(seconds=-100), "rubbish"):
            code, output = self.refused(*self.source(token), seconds=60)
            self.assertEqual(code, 3, output)
            self.assertIn("with the token of tokencmd", output)
            self.assertIn("invalid_token", output)
            self.assertEqual(len(output.strip().splitlines()), 1, output)
            self.assertNotIn(token, output)

    def test_command_that_fails(self):
        source, options = self.source("x")
        code, output = self.refused(source, [*without(options, "tokencmd"), "tokencmd=exit 7"])
        self.assertEqual(code, 3, output)
        self.assertIn("tokencmd failed with exit code 7", output)

    def test_server_without(self):
        source, options = self.source("x", "disable=AUTH=OAUTHBEARER:AUTH=XOAUTH2")
        code, output = self.refused(source, options)
        self.assertEqual(code, 3, output)
        self.assertIn("the server takes no tokens", output)
