package bare

// What chat does on its network, of which it knows no more than its MAC address, whose last
// four bytes are its IP address. It sends a datagram to everybody at ChatPort about every
// 100 ms; answers those of others, and what asks for its MAC address; sends back what comes
// to port 7; and writes a byte to COM1 for each answer that it gets, ChatBase and the last
// byte of the sender's address.
const (
	ChatPort = 7777
	ChatBase = '0'

	chatID    = 0x10411af4 // device and vendor
	chatPause = 1 << 28    // cycles
	chatOwn   = 2 * echoQueue
	chatCOM1  = 0x3f8

	// As they lie in memory, first byte lowest.
	chatARP      = 0x0608
	chatIPv4     = 0x0008
	chatPortLE   = ChatPort>>8 | ChatPort&0xff<<8
	chatEchoPort = 7 << 8
	chatAsk      = 1 << 8     // ARP's operation
	chatHead     = 0x20000045 // version, length 32
	chatUDP      = 0x1140     // TTL, protocol
	chatUDPSize  = 12 << 8
)

// Places in a buffer, with the virtio_net_hdr and the Ethernet header before them.
const (
	atDst   = 12
	atSrc   = 18
	atType  = 24
	atIP    = 26
	atOp    = 32 // of ARP, and on
	atSHA   = 34
	atSPA   = 40
	atTHA   = 44
	atTPA   = 50
	arpEnd  = 54
	atTTL   = 34 // of IPv4, and on
	atProto = 35
	atSum   = 36
	atFrom  = 38
	atTo    = 42
	atSport = 46
	atDport = 48
	atSize  = 50
	chatEnd = 58
)
