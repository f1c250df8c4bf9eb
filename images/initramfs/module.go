package initramfs

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"splitvm/guest/init/modules"
)

// module is a kernel module, decompressed.
type module struct {
	name    string
	file    string // below lib/modules/RELEASE, without the extension of a compression
	data    []byte
	needs   []string // names of the modules that it can't do without
	aliases []string
}

// maxModuleBytes bounds a decompressed module; the largest of Debian's have 15 MB.
const maxModuleBytes = 256 << 20

// readModule reads the module in the file, whose path below the directory of
// modules is rel.
func readModule(file, rel string) (*module, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("kernel module: %w", err)
	}
	data, err := decompress(raw, path.Ext(rel))
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", file, err)
	}
	m := &module{name: modules.Name(rel), file: rel[:strings.LastIndex(rel, ".ko")+len(".ko")], data: data}
	if err := m.readInfo(); err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", file, err)
	}
	return m, nil
}

// decompress undoes the compression that a module's extension tells.
func decompress(raw []byte, ext string) ([]byte, error) {
	var r io.Reader
	var err error
	switch ext {
	case ".ko":
		return raw, nil
	case ".xz":
		r, err = xz.NewReader(bytes.NewReader(raw))
	case ".gz":
		r, err = gzip.NewReader(bytes.NewReader(raw))
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(raw), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModuleBytes)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		return nil, fmt.Errorf("unknown compression %s", ext)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxModuleBytes+1))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(data) > maxModuleBytes {
		return nil, fmt.Errorf("decompress: more than %d bytes", maxModuleBytes)
	}
	return data, nil
}

// readInfo reads what the module says of itself: NUL-ended NAME=value strings in
// the section .modinfo (include/linux/moduleparam.h, MODULE_INFO). Modules which
// it wants loaded first but can do without ("softdep=pre:") are not followed: the
// guest's init has no use for them.
func (m *module) readInfo() error {
	f, err := elf.NewFile(bytes.NewReader(m.data))
	if err != nil {
		return fmt.Errorf("not an ELF file: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return errors.New("no .modinfo section: not a kernel module")
	}
	info, err := section.Data()
	if err != nil {
		return fmt.Errorf("read .modinfo: %w", err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		name, value, _ := strings.Cut(field, "=")
		switch {
		case name == "alias" && value != "" && !strings.ContainsFunc(value, unicode.IsSpace):
			m.aliases = append(m.aliases, value)
		case name == "depends" && value != "":
			for need := range strings.SplitSeq(value, ",") {
				m.needs = append(m.needs, modules.Name(need))
			}
		}
	}
	return nil
}

// stripSignature gives the module without the signature that was appended to it
// (kernel/module_signature.c): the signature, 12 bytes that end in its length,
// and a magic text.
func stripSignature(data []byte) []byte {
	const trailer = 12
	rest, ok := bytes.CutSuffix(data, []byte("~Module signature appended~\n"))
	if !ok || len(rest) < trailer {
		return data
	}
	length := uint64(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	rest = rest[:len(rest)-trailer]
	if length > uint64(len(rest)) {
		return data // no signature that the kernel would take for one
	}
	return rest[:uint64(len(rest))-length]
}
