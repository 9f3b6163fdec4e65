"""FreeSWITCH over its Event Socket: see README.md; the door is `door.FreeSwitch`."""
