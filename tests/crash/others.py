"""What other clients do meanwhile, as functions of a world; and what servers are told to permit."""
import world as worlds

ACL = {"conf": "mail_plugins = acl imap_acl\nplugin {\n  acl = vfile\n}\nprotocol imap {\n"
               "  mail_plugins = acl imap_acl\n}\n"}
ALL_RIGHTS = "owner lrwstipekxa"
QUOTA_CONF = ("mail_plugins = quota\nplugin {{\n  quota = count:User quota\n  quota_vsizes = yes\n"
              "  quota_rule = *:messages={messages}\n}}\n")
QUOTA = {"conf": QUOTA_CONF.format(messages=100)}


def rows(*rows):
    return {row.name: row for row in rows}


def store(box, key, change, flags):
    def go(world):
        world.imap(f'SELECT "{box}"', f"UID STORE {world.uid(box, key)} {change}FLAGS ({flags})")
    return go


def expunge(box, *keys):
    def go(world):
        uids = ",".join(str(world.uid(box, key)) for key in keys)
        world.imap(f'SELECT "{box}"', f"UID STORE {uids} +FLAGS (\\Deleted)", "EXPUNGE")
    return go


def renew(box, words=None):
    return lambda world: world.renew(box, words)


def command(*commands):
    return lambda world: world.imap(*commands)


def acl(box, rights):
    return lambda world: world.set_acl(box, rights)


def both(*functions):
    def go(world):
        for function in functions:
            function(world)
    return go


def move(box, key, to, verb="MOVE"):
    def go(world):
        world.imap(f'SELECT "{box}"', f'UID {verb} {world.uid(box, key)} "{to}"')
    return go


def copy(box, key, to):
    return move(box, key, to, "COPY")


def append(box, *words):
    def go(world):
        for message in (worlds.Message(word) for word in words):
            raw = message.raw().decode().replace("\n", "\r\n")
            flags = " ".join(sorted(message.flags))
            world.imap(f'APPEND "{box}" ({flags}) {{{len(raw)}+}}\r\n{raw}')
    return go


def quota(messages):
    """For connections that are made from now on."""
    return lambda world: world.configure(QUOTA_CONF.format(messages=messages))
