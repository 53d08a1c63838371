// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// negotiated are client-go's serializers. Only what is used of an object is decoded from protobuf.
type negotiated struct{ runtime.NegotiatedSerializer }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (n negotiated) SupportedMediaTypes() []runtime.SerializerInfo {
	all := slices.Clone(n.NegotiatedSerializer.SupportedMediaTypes())
	for i := range all {
		if all[i].MediaType == runtime.ContentTypeProtobuf {
			all[i].Serializer = shortening{all[i].Serializer}
		}
	}
	return all
}

// shortening drops what is not used before it is decoded.
type shortening struct{ runtime.Serializer }

// Decode implements runtime.Decoder. What is not understood, or cannot be decoded without the rest, is decoded whole.
func (s shortening) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if short, ok := shortened(data); ok {
		if o, kind, err := s.Serializer.Decode(short, defaults, into); err == nil {
			return o, kind, nil
		}
	}
	return s.Serializer.Decode(data, defaults, into)
}
