"""What goes wrong between the program and the server, and that no call hangs, lies or gives up."""
import errno
import os
import random
import signal
import subprocess
import time

import fakeimap
import mail
import mount as mounts
import proc
import proxy
import servers
from case import Case

OFFLINE = (errno.ENETUNREACH, errno.ETIMEDOUT)
LONG = bool(os.environ.get("IMAPFS_LONG"))
TIMEOUT = 3  # seconds, the option


class TestStoreOnce(Case):
    """One transaction fails: what waited for it is told, and the next call is right."""
    timeout = 120

    def test_listed_by_the_next_call(self):
        server = fakeimap.FakeImap(fakeimap.FULL).start()
        self.addCleanup(server.stop)
        uids = server.fill("INBOX", [mail.message(number, "plain") for number in range(3)])
        source, more = server.source()
        for number in range(1, 9):
            with self.subTest(number):
                home = mounts.Home()
                home.env["IMAPFS_FAULT"] = f"store.begin:{number}=EIO"
                mounted = self.mount(source, [*more, f"timeout={TIMEOUT}"], home)
                try:
                    mounted.messages("INBOX")
                except OSError as error:
                    self.assertEqual(error.errno, errno.EIO)
                self.assertEqual(set(mounted.messages("INBOX")), set(uids))
                mounted.unmount()


class FaultCase(Case):
    """Dovecot behind a link that can be cut."""
    timeout = 120

    @classmethod
    def setUpClass(cls):
        cls.server = servers.Dovecot()
        cls.mails = {}
        messages = [mail.message(number) for number in range(cls.count())]
        cls.server.prefill("INBOX", [(made.raw, made.date) for made in messages])
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.mails = dict(enumerate(messages, 1))

    @classmethod
    def count(cls):
        return 30

    def setUp(self):
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)
        self.started = time.monotonic()

    def over_link(self, *options, home=None):
        source, more = self.server.source(port=self.link.port)
        return self.mount(source, [*more, f"timeout={TIMEOUT}", *options], home)

    def check_text(self, mounted, uid):
        self.assertEqual(mounted.text("INBOX", self.names[uid], "body.txt"), self.mails[uid].text)

    def body(self, mounted, uid):
        return mounted.path("INBOX", self.names[uid], "body.txt")

    def listed(self, *options, home=None):
        """A mount whose INBOX was listed, and the first ten texts read, and no others."""
        mounted = self.over_link("prefetch=0", *options, home=home)
        self.names = mounted.messages("INBOX")
        self.assertEqual(set(self.names), set(self.mails))
        for uid in range(1, 11):
            self.check_text(mounted, uid)
        return mounted

    def read_or_error(self, path):
        try:
            with open(path, "rb") as file:
                return file.read().decode(), None
        except OSError as error:
            self.assertIn(error.errno, (*OFFLINE, errno.EIO), error)
            return None, error

    def comes_back(self, mounted, uid):
        """Without a remount, a text that was never read becomes readable again."""
        text = self.soon(lambda: self.read_or_error(self.body(mounted, uid))[0], 60,
                         "the session to return")
        self.assertEqual(text, self.mails[uid].text)


class TestFaults(FaultCase):
    def test_server_dies_and_returns(self):
        mounted = self.listed()
        self.link.refuse()
        for uid in range(1, 11):
            self.check_text(mounted, uid)
        self.assertEqual(set(mounted.messages("INBOX")), set(self.mails))
        self.assert_fails(OFFLINE, mounted.read, "INBOX", self.names[30], "attachments", "x")
        self.assert_fails(OFFLINE, open, self.body(mounted, 30))
        self.assertTrue(mounted.status())
        self.link.resume()
        self.comes_back(mounted, 30)

    def test_connection_cut(self):
        mounted = self.listed()
        for how in ("rst", "fin"):
            with self.subTest(how):
                self.link.cut(how)
                self.comes_back(mounted, 20 if how == "rst" else 21)

    def test_stalled_link(self):
        mounted = self.listed()
        self.link.freeze()
        for uid in range(1, 11):
            self.check_text(mounted, uid)
        began = time.monotonic()
        self.assert_fails(OFFLINE, open, self.body(mounted, 25))
        self.assertLess(time.monotonic() - began, TIMEOUT + 10)
        self.link.resume()
        self.comes_back(mounted, 25)

    def test_stall_in_the_middle_of_a_file(self):
        mounted = self.listed()
        name, data = self.mails[8].attachments[-1]
        path = mounted.path("INBOX", self.names[8], "attachments", name)
        os.listdir(os.path.dirname(path))
        self.link.cut_after(20_000, how="stall")
        try:
            with open(path, "rb") as file:
                self.assertEqual(file.read(), data)
        except OSError as error:
            self.assertIn(error.errno, (*OFFLINE, errno.EIO))
        self.link.resume()

        def whole():
            try:
                with open(path, "rb") as file:
                    return file.read()
            except OSError:
                return None
        self.assertEqual(mail.sha256(self.soon(whole, 60)), mail.sha256(data))

    def test_interrupted_wait(self):
        """Ctrl-C and SIGKILL end a waiting cat at once; others go on waiting."""
        mounted = self.listed("timeout=60")
        self.link.freeze()
        for number in (signal.SIGINT, signal.SIGKILL):
            with self.subTest(number.name):
                cat = subprocess.Popen(["cat", self.body(mounted, 25)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
                time.sleep(0.5)
                self.assertIsNone(cat.poll(), "it should wait")
                cat.send_signal(number)
                self.assertEqual(cat.wait(5), -number)
        self.check_text(mounted, 1)
        self.link.resume()
        self.comes_back(mounted, 25)

    def test_unmount_with_waiting_readers(self):
        mounted = self.listed("timeout=60")
        self.link.freeze()
        readers = [subprocess.Popen(["cat", self.body(mounted, uid)], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL) for uid in (21, 22, 23, 23)]
        time.sleep(0.5)
        mounted.terminate()
        for reader in readers:
            self.assertNotEqual(reader.wait(5), 0)

    def test_unmount_while_the_link_is_frozen(self):
        mounted = self.listed()
        self.link.freeze()
        self.assertLess(mounted.unmount(), 10)

    def test_signals_unmount(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(number.name):
                self.over_link().terminate(number)

    def test_killed_and_mounted_again(self):
        home = mounts.Home()
        mounted = self.listed(home=home)
        readers = [subprocess.Popen(["cat", self.body(mounted, uid)], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL) for uid in range(11, 31)]
        mounted.kill()
        for reader in readers:
            reader.wait(10)
        mounted = self.listed(home=home)
        for uid in self.mails:
            self.check_text(mounted, uid)

    def test_second_mount_of_an_account_is_refused(self):
        home = mounts.Home()
        self.over_link(home=home)
        source, more = self.server.source(port=self.link.port)
        other = os.path.join(home.dir, "other")
        os.mkdir(other)
        process = proc.Process(mounts.command(source, other, more), os.path.join(home.dir, "2.log"),
                               env=home.env)
        self.assertNotIn(process.wait(20), (None, 0), process.output())
        self.assertFalse(mounts.mounted(other))
        process.end()

    def test_flapping_link(self):
        """Cut ten times in a row at rest: it always comes back, and does not hammer."""
        mounted = self.listed()
        for number in range(10):
            self.link.cut(("rst", "fin")[number % 2])
            time.sleep(0.1)
        self.comes_back(mounted, 26)
        self.assertLess(self.link.connects, 60)


class TestCuts(FaultCase):
    """Cuts at random bytes while everything is read."""
    timeout = 1200 if LONG else 300

    @classmethod
    def count(cls):
        return 2000 if LONG else 300

    @staticmethod
    def cuts():
        return 200 if LONG else 40

    def test_cuts_at_random_bytes(self):
        rng = random.Random(4)
        mounted = self.over_link("timeout=10")
        self.names = mounted.messages("INBOX")
        total = sum(len(made.text) for made in self.mails.values())
        mean = max(500, total // self.cuts())
        left = self.cuts()

        def again():
            nonlocal left
            left -= 1
            return rng.randint(1, 2 * mean) if left > 0 else None
        self.link.cut_after(rng.randint(1, mean), how=lambda: rng.choice(("rst", "fin")),
                            again=again)
        wrong, done, errors = [], set(), 0
        deadline = time.monotonic() + self.timeout - 60
        while len(done) < len(self.mails) and time.monotonic() < deadline:
            failed = 0
            for uid in sorted(set(self.mails) - done):
                text, error = self.read_or_error(self.body(mounted, uid))
                failed += error is not None
                if error is None:
                    done.add(uid)
                    if text != self.mails[uid].text:
                        wrong.append(uid)
            errors += failed
            if failed:
                mounted.kick()  # that it comes back by itself is shown by comes_back()
                time.sleep(0.2)  # as offline as a person would notice
        self.note(f"{self.link.cuts} cuts, {errors} errors, {self.link.connects} connections")
        self.assertEqual(wrong, [])
        self.assertEqual(len(done), len(self.mails), "after the last cut all are right")
        self.assertGreater(self.link.cuts, self.cuts() // 4)

    def test_cuts_in_a_large_file(self):
        made = mail.big(7, 3_000_000)
        with self.server.client() as client:
            client.create("Big")
            client.append("Big", made.raw)
        self.addCleanup(self._delete_big)
        mounted = self.over_link("timeout=10")
        path = os.path.join(mounted.message("Big", 1), "attachments", "video.mp4")
        rng, want = random.Random(5), mail.sha256(made.attachments[0][1])
        good = 0
        for _ in range(8):
            self.link.cut_after(rng.randint(1, 4_000_000), how=rng.choice(("rst", "fin")))
            text = None
            try:
                with open(path, "rb") as file:
                    text = file.read()
            except OSError as error:
                self.assertIn(error.errno, (*OFFLINE, errno.EIO))
            if text is not None:
                self.assertEqual(mail.sha256(text), want)
                good += 1
        self.link.no_more_cuts()

        def whole():
            try:
                with open(path, "rb") as file:
                    return mail.sha256(file.read())
            except OSError:
                return None
        self.assertEqual(self.soon(whole, 60), want)
        self.note(f"{good} of 8 whole in spite of a cut")

    def _delete_big(self):
        with self.server.client() as client:
            client.delete("Big")
